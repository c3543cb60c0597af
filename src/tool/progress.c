/* SPDX-License-Identifier: MIT */
/* The progress bar: how much, how fast, how long still. One line on stderr that is rewritten in place and erased at the end. */
#include "config.h"

#include "tool/progress.h"

#include "tool/table.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define QUIET_SECONDS  1.0 /* work shorter than this shows nothing */
#define REDRAW_SECONDS 0.1
#define MAX_WIDTH      100

/* One bar at a time. `drawn_width` is read by the signal handler. */
static struct {
    bool enabled;
    double started, drawn;
    int64_t total, done;
} bar;
static volatile int drawn_width;

void clq_tool_progress_start(struct clq_tool *tool, int64_t total_bytes)
{
    bar.enabled = !tool->quiet && total_bytes > 0 && isatty(STDERR_FILENO) == 1;
    bar.started = bar.drawn = clq_tool_now();
    bar.total = total_bytes;
    bar.done = 0;
}

static int screen_width(void)
{
    struct winsize size;
    const int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col - 1 : 79;
    return width < MAX_WIDTH ? width : MAX_WIDTH;
}

static void draw(double now)
{
    char line[MAX_WIDTH + 2], figures[64], rate_text[16];
    const double elapsed = now - bar.started, share = (double)bar.done / (double)bar.total, rate = (double)bar.done / elapsed;
    const double left = rate > 0 ? (double)(bar.total - bar.done) / rate : 0;
    const int width = screen_width();
    const int figures_width = left < 360000 ? snprintf(figures, sizeof figures, " %3.0f %%  %s/s  %d:%02d:%02d left", 100 * share,
                                                       clq_tool_bytes_text(rate, rate_text, sizeof rate_text), (int)left / 3600,
                                                       (int)left / 60 % 60, (int)left % 60)
                                            : snprintf(figures, sizeof figures, " %3.0f %%  %s/s", 100 * share,
                                                       clq_tool_bytes_text(rate, rate_text, sizeof rate_text));
    const int slots = width - figures_width - 2;
    int used = 0;
    line[used++] = '\r';
    if (slots >= 10) {
        line[used++] = '[';
        for (int k = 0; k < slots; k++)
            line[used++] = k < (int)(share * slots) ? '#' : ' ';
        line[used++] = ']';
    }
    for (int k = 0; figures[k] != 0 && used <= width; k++)
        line[used++] = figures[k];
    const int previous = drawn_width;
    drawn_width = used > previous ? used : previous;
    fwrite(line, 1, (size_t)used, stderr);
    fprintf(stderr, "%*s", previous > used ? previous - used : 0, "");
    fflush(stderr);
}

void clq_tool_progress_advance(int64_t bytes)
{
    bar.done += bytes;
    if (!bar.enabled) return;
    const double now = clq_tool_now();
    if (bar.done >= bar.total) {
        clq_tool_progress_erase();
    } else if (now - bar.started >= QUIET_SECONDS && now - bar.drawn >= REDRAW_SECONDS) {
        bar.drawn = now;
        draw(now);
    }
}

void clq_tool_progress_erase(void)
{
    char blanks[MAX_WIDTH + 4];
    int width = drawn_width;
    if (width == 0) return;
    drawn_width = 0;
    if (width > MAX_WIDTH) width = MAX_WIDTH;
    memset(blanks, ' ', (size_t)width + 1);
    blanks[0] = blanks[width + 1] = '\r';
    /* The bar is gone or the terminal is: nothing to do about a failure. */
    if (write(STDERR_FILENO, blanks, (size_t)width + 2) < 0) return;
}
