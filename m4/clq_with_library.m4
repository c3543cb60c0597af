dnl SPDX-License-Identifier: MIT
dnl
dnl CLQ_WITH_LIBRARY(NAME, OPTION, HEADER, FUNCTION, LIBRARIES, WHAT-FOR)
dnl
dnl An optional library behind the switch --with-OPTION[=yes|no|auto], auto by default: HEADER must be there, and FUNCTION in
dnl one of LIBRARIES. With yes, a missing one is an error. Defines CLQ_WITH_NAME, the Automake conditional WITH_NAME and the
dnl variable NAME_LIBS; clq_with_NAME is "yes", "no" or "no (switched off)". LIBS stays as it was.
AC_DEFUN([CLQ_WITH_LIBRARY], [
  AC_ARG_WITH([$2], [AS_HELP_STRING([--with-$2@<:@=yes|no|auto@:>@], [$6 @<:@auto@:>@])], [], [with_$2=auto])
  clq_with_$1=no
  $1_LIBS=
  AS_CASE([$with_$2],
    [no], [clq_with_$1="no (switched off)"],
    [yes|auto], [
      AC_CHECK_HEADER([$3], [
        clq_saved_LIBS=$LIBS
        AC_SEARCH_LIBS([$4], [$5], [
          clq_with_$1=yes
          AS_IF([test "x$ac_cv_search_$4" != "xnone required"], [$1_LIBS=$ac_cv_search_$4])
        ])
        LIBS=$clq_saved_LIBS
      ])
      AS_IF([test "x$with_$2" = xyes && test "x$clq_with_$1" != xyes],
        [AC_MSG_ERROR([--with-$2 was given, but <$3> or a library with $4 was not found])])
    ],
    [AC_MSG_ERROR([--with-$2=$with_$2: must be yes, no or auto])])
  AS_IF([test "x$clq_with_$1" = xyes],
    [AC_DEFINE([CLQ_WITH_$1], [1], [Define to 1 if $2 was found and is wanted.])])
  AM_CONDITIONAL([WITH_$1], [test "x$clq_with_$1" = xyes])
  AC_SUBST([$1_LIBS])
])
