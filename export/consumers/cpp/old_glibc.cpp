// Linked with a new glibc, a program asks for versions of some functions that boards do not have yet, although the
// functions are the same. Here each of them is a function of this program that calls the oldest version. So the program
// starts wherever glibc is 2.17 or newer.
#include <features.h>

#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))  // with musl there is no __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 34)

#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define LTH_OLDEST "GLIBC_2.2.5"
#else
#define LTH_OLDEST "GLIBC_2.17"
#endif
#define LTH_OLD(name) __asm__(".symver old_" #name "," #name "@" LTH_OLDEST)
#define LTH_OWN __attribute__((visibility("hidden"), used))

extern "C" {

LTH_OLD(dlopen);
LTH_OLD(dlsym);
LTH_OLD(dlerror);
LTH_OLD(pthread_create);
LTH_OLD(pthread_detach);
LTH_OLD(pthread_join);
LTH_OLD(pthread_once);
LTH_OLD(__pthread_key_create);
LTH_OLD(__libc_start_main);

void* old_dlopen(const char* file, int mode);
void* old_dlsym(void* handle, const char* name);
char* old_dlerror();
int old_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument);
int old_pthread_detach(pthread_t thread);
int old_pthread_join(pthread_t thread, void** result);
int old_pthread_once(pthread_once_t* control, void (*once)());
int old___pthread_key_create(pthread_key_t* key, void (*destroy)(void*));
using Main = int (*)(int, char**, char**);
int old___libc_start_main(Main main, int count, char** arguments, void (*start)(int, char**, char**), void (*end)(),
                          void (*unload)(), void* stack);

LTH_OWN void* dlopen(const char* file, int mode) { return old_dlopen(file, mode); }
LTH_OWN void* dlsym(void* __restrict handle, const char* __restrict name) noexcept { return old_dlsym(handle, name); }
LTH_OWN char* dlerror() noexcept { return old_dlerror(); }
LTH_OWN int pthread_create(pthread_t* __restrict thread, const pthread_attr_t* __restrict attributes,
                           void* (*start)(void*), void* __restrict argument) noexcept {
  return old_pthread_create(thread, attributes, start, argument);
}
LTH_OWN int pthread_detach(pthread_t thread) noexcept { return old_pthread_detach(thread); }
LTH_OWN int pthread_join(pthread_t thread, void** result) { return old_pthread_join(thread, result); }
LTH_OWN int pthread_once(pthread_once_t* control, void (*once)()) { return old_pthread_once(control, once); }
LTH_OWN int __pthread_key_create(pthread_key_t* key, void (*destroy)(void*)) noexcept {
  return old___pthread_key_create(key, destroy);
}

// libstdc++ asks for the size of open files; the structure is that of the kernel.
LTH_OWN int fstat64(int file, struct stat64* found) noexcept {
  return static_cast<int>(syscall(SYS_fstat, file, found));
}

LTH_OWN char __libc_single_threaded = 0;

// Before 2.34 glibc left the constructors to the program, and still does so where it hands over a function for them.
using Constructor = void (*)(int, char**, char**);
extern Constructor __init_array_start[] __attribute__((visibility("hidden")));
extern Constructor __init_array_end[] __attribute__((visibility("hidden")));

static void construct(int count, char** arguments, char** environment) {
  for (Constructor* one = __init_array_start; one != __init_array_end; ++one) (*one)(count, arguments, environment);
}

LTH_OWN int __libc_start_main(Main main, int count, char** arguments, void (*)(int, char**, char**), void (*end)(),
                              void (*unload)(), void* stack) {
  return old___libc_start_main(main, count, arguments, construct, end, unload, stack);
}
}

#endif
#endif
