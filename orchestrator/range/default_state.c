/* Where the state is by default; in a file of its own for programs that are no core. */
#include <stdlib.h>

#include "enshu/common/str.h"
#include "enshu/range.h"

int es_range_default_state(char *dst, size_t size, struct es_err *err)
{
    const char *own = getenv("ENSHU_STATE"), *xdg = getenv("XDG_STATE_HOME"),
               *home = getenv("HOME");
    int rc = ES_ENOENT;
    if (own != NULL && own[0] == '/')
        rc = es_str_printf(dst, size, "%s", own);
    else if (xdg != NULL && xdg[0] == '/')
        rc = es_str_printf(dst, size, "%s/enshu", xdg);
    else if (home != NULL && home[0] == '/')
        rc = es_str_printf(dst, size, "%s/.local/state/enshu", home);
    return rc == 0 ? 0
                   : es_err_set(
                         err, rc,
                         "no folder for state: set ENSHU_STATE to an absolute path of at "
                         "most %zu bytes",
                         size - 1);
}
