/* What lets Debian's store daemons start on a host without Xen: the calls by which they
 * reach the hypervisor while they start, and domain 0's ring page, are answered by nothing
 * at all. Their sockets, requests and trees, which the bench measures, are their own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static char handle[64];
static int event = -1;

static int page(const char *text)
{
	int fd = memfd_create("shim", 0);

	if (fd >= 0 && (ftruncate(fd, 4096) || pwrite(fd, text, strlen(text), 0) < 0))
		return -1;
	return fd;
}

int open(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	va_list more;
	mode_t mode;

	if (!strcmp(path, "/proc/xen/xsd_port"))
		return page("1");
	if (!strcmp(path, "/proc/xen/xsd_kva"))
		return page("");
	if (!real)
		real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	va_start(more, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
	va_end(more);
	return real(path, flags, mode);
}

int setrlimit(int resource, const void *limit) { return 0; }

void *xc_interface_open(void *logger, void *builder, unsigned flags) { return handle; }
int xc_interface_close(void *xch) { return 0; }
int xc_domain_getinfo(void *xch, unsigned domid, unsigned max, void *info)
{
	memset(info, 0, 64);
	memcpy(info, &domid, sizeof(domid));
	return 1;
}

void *xenevtchn_open(void *logger, unsigned flags)
{
	event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return handle;
}
int xenevtchn_close(void *xce) { return 0; }
int xenevtchn_fd(void *xce) { return event; }
int xenevtchn_bind_virq(void *xce, unsigned virq) { return 1; }
int xenevtchn_bind_interdomain(void *xce, unsigned domid, unsigned port) { return 2; }
int xenevtchn_unbind(void *xce, unsigned port) { return 0; }
int xenevtchn_pending(void *xce) { return -1; }
int xenevtchn_unmask(void *xce, unsigned port) { return 0; }
int xenevtchn_notify(void *xce, unsigned port) { return 0; }

void *xengnttab_open(void *logger, unsigned flags) { return handle; }
int xengnttab_close(void *xgt) { return 0; }
int xengnttab_set_max_grants(void *xgt, unsigned count) { return 0; }
