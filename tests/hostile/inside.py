"""What the hostile models share inside the sandbox; pickled with each of them by value, so it imports nothing here."""


def answer(live):
    """The right predictions, which a model gives whose attempts all failed."""
    return ((live["feature_a"] + 1) / 6).to_frame("prediction")


def refused(what, attempt, *errors):
    """Prints 'shut' if `attempt` fails with one of the named errors ('EPERM'), 'open' if it works; others pass."""
    import errno

    try:
        got = attempt()
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error.errno))
        if name not in errors:
            print("not as expected:", what, name)
            raise
        print("shut", what, name)
    else:
        print("open", what, repr(got)[:200])


def call(name, *arguments):
    """A raw system call by its name; OSError as the kernel says."""
    import ctypes
    import os
    import platform

    # 424 and later are the same number everywhere.
    numbers = {"clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "fsopen": 430}
    numbers |= {"pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438, "open_tree": 428, "move_mount": 429}
    numbers |= {"mount_setattr": 442, "memfd_secret": 447, "cachestat": 451, "process_madvise": 440}
    x86_64 = "shmget 29 clone 56 semget 64 msgget 68 msgsnd 69 ptrace 101 settimeofday 164 mount 165 umount2 166"
    x86_64 += " pivot_root 155 chroot 161 adjtimex 159 sethostname 170 setdomainname 171 init_module 175"
    x86_64 += " delete_module 176 swapon 167 reboot 169 acct 163 syslog 103 personality 135 clock_settime 227"
    x86_64 += " clock_adjtime 305 kexec_load 246 add_key 248 request_key 249 keyctl 250 unshare 272 setns 308"
    x86_64 += " perf_event_open 298 process_vm_readv 310 process_vm_writev 311 kcmp 312 finit_module 313 bpf 321"
    x86_64 += " userfaultfd 323 name_to_handle_at 303 open_by_handle_at 304 fanotify_init 300 memfd_create 319"
    x86_64 += " tgkill 234 quotactl 179 mknodat 259 capset 126"
    x86_64 += " inotify_init1 294 inotify_add_watch 254 fanotify_mark 301 mincore 27 io_setup 206"
    x86_64 += " sync 162 syncfs 306 madvise 28 prctl 157"
    x86_64 += " mbind 237 set_mempolicy 238 migrate_pages 256 vmsplice 278 seccomp 317"
    aarch64 = "shmget 194 clone 220 semget 190 msgget 186 msgsnd 189 ptrace 117 settimeofday 170 mount 40 umount2 39"
    aarch64 += " pivot_root 41 chroot 51 adjtimex 171 sethostname 161 setdomainname 162 init_module 105"
    aarch64 += " delete_module 106 swapon 224 reboot 142 acct 89 syslog 116 personality 92 clock_settime 112"
    aarch64 += " clock_adjtime 266 kexec_load 104 add_key 217 request_key 218 keyctl 219 unshare 97 setns 268"
    aarch64 += " perf_event_open 241 process_vm_readv 270 process_vm_writev 271 kcmp 272 finit_module 273 bpf 280"
    aarch64 += " userfaultfd 282 name_to_handle_at 264 open_by_handle_at 265 fanotify_init 262 memfd_create 279"
    aarch64 += " tgkill 131 quotactl 60 mknodat 33 capset 91 inotify_init1 26 inotify_add_watch 27 fanotify_mark 263"
    aarch64 += " mincore 232 io_setup 0 sync 81 syncfs 267 madvise 233 prctl 167"
    aarch64 += " mbind 235 set_mempolicy 237 migrate_pages 238 vmsplice 75 seccomp 277"
    words = {"x86_64": x86_64, "aarch64": aarch64}[platform.machine()].split()
    numbers |= dict(zip(words[::2], map(int, words[1::2]), strict=True))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    plain = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    got = libc.syscall(ctypes.c_long(numbers[name]), *plain)
    if got < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return got


def channel_of_the_runner():
    """The runner's own channel, found by looking up the stack."""
    import sys

    frame = sys._getframe()
    while frame is not None:
        for value in frame.f_locals.values():
            if type(value).__name__ == "Channel":
                return value
        frame = frame.f_back
    raise LookupError("no channel on the stack")
