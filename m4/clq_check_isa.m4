dnl SPDX-License-Identifier: MIT
dnl
dnl CLQ_CHECK_ISA(NAME, HOST-CPU, FLAGS, HEADER, STATEMENT)
dnl
dnl Whether the compiler can build the kernels of one instruction set: the host is a HOST-CPU, the FLAGS are taken, and
dnl STATEMENT, which uses the set's newest part, compiles. Says nothing about the machine that will run them: that is asked
dnl at run time. Defines CLQ_HAVE_NAME, the Automake conditional HAVE_NAME and the variable NAME_CFLAGS; clq_have_NAME is
dnl "yes" or "no". With $enable_simd = no nothing is looked for.
AC_DEFUN([CLQ_CHECK_ISA], [
  clq_have_$1=no
  $1_CFLAGS="$3"
  AS_IF([test "x$enable_simd" != xno && test "x$host_cpu" = "x$2"], [
    AC_MSG_CHECKING([whether $CC compiles $1 kernels])
    clq_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $3"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <$4>]], [[$5]])], [clq_have_$1=yes])
    CFLAGS=$clq_saved_CFLAGS
    AC_MSG_RESULT([$clq_have_$1])
  ])
  AS_IF([test "x$clq_have_$1" = xyes],
    [AC_DEFINE([CLQ_HAVE_$1], [1], [Define to 1 if the $1 kernels are built.])])
  AM_CONDITIONAL([HAVE_$1], [test "x$clq_have_$1" = xyes])
  AC_SUBST([$1_CFLAGS])
])
