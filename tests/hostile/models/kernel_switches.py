"""Calls what only root may: loads modules, reboots, swaps, counts, logs, opens files by their handles."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes

    buffer = ctypes.create_string_buffer(256)
    refused("init_module", lambda: call("init_module", buffer, 256, b""), "EPERM")
    refused("finit_module", lambda: call("finit_module", 0, b"", 0), "EPERM")
    refused("delete_module", lambda: call("delete_module", b"loop", 0), "EPERM")
    refused("kexec_load", lambda: call("kexec_load", 0, 0, 0, 0), "EPERM")
    for command in (0x01234567, 0xCDEF0123 - (1 << 32), 0x4321FEDC, 0x89ABCDEF - (1 << 32), 0):
        magic = (0xFEE1DEAD - (1 << 32), 0x28121969)
        refused(f"reboot {command:#x}", lambda c=command, m=magic: call("reboot", *m, c, 0), "EPERM")
    refused("swapon", lambda: call("swapon", b"/tmp/swap", 0), "EPERM")
    refused("acct", lambda: call("acct", b"/tmp/acct"), "EPERM")
    for action in (2, 3, 5, 6, 8, 10):
        refused(f"syslog {action}", lambda a=action: call("syslog", a, buffer, 256), "EPERM")
    refused("personality", lambda: call("personality", 0x0040000), "EPERM")
    refused("name_to_handle_at", lambda: call("name_to_handle_at", -100, b"/usr", buffer, buffer, 0), "EPERM")
    refused("open_by_handle_at", lambda: call("open_by_handle_at", -100, buffer, 0), "EPERM")
    refused("fanotify_init", lambda: call("fanotify_init", 0, 0), "ENOSYS")
    refused("quotactl", lambda: call("quotactl", 0x80000200, b"/dev/vda", 0, buffer), "EPERM")
    return answer(live_features)
