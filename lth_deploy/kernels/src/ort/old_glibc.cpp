// The C++ library inside of ours asks glibc whether the process has one thread only, to spare itself locked
// instructions. glibc answers since 2.32; with "no" as our own answer the library also loads on older systems.
extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded;
char __libc_single_threaded = 0;
