/* Unix socket addresses. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "control_inner.h"

int control_address(const char *path, struct sockaddr_un *ret_address, struct es_err *err)
{
    memset(ret_address, 0, sizeof *ret_address);
    ret_address->sun_family = AF_UNIX;
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof ret_address->sun_path)
        return es_err_set(err, ES_ELIMIT,
                          "socket path %.120s has %zu bytes, at most %zu are possible; "
                          "choose a shorter one with --socket",
                          path, len, sizeof ret_address->sun_path - 1);
    memcpy(ret_address->sun_path, path, len);
    return 0;
}
