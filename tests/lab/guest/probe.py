"""Tries, in the daemon's sandbox, what the daemon never needs, and what it does need ("may-..."). Argument: the file for the
result, {name: error or ""}: every attempt must have failed, and every "may-" must have worked."""
import ctypes
import json
import mmap
import os
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
tries = {}


def attempt(function):
    tries[function.__name__.replace("_", "-")] = function
    return function


def call(name, *args):
    if getattr(libc, name)(*args) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def syscall(number, *args):
    call("syscall", ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])


def write(path, flags=os.O_CREAT):
    os.close(os.open(path, os.O_WRONLY | flags, 0o600))


def sockets():
    """Families and types that are not TCP, UDP or Unix sockets."""
    for name, family, kind, protocol in (("packet", socket.AF_PACKET, socket.SOCK_RAW, 0), ("raw", socket.AF_INET, socket.SOCK_RAW, 255),
                                         ("raw6", socket.AF_INET6, socket.SOCK_RAW, 58), ("alg", socket.AF_ALG, socket.SOCK_SEQPACKET, 0),
                                         ("vsock", socket.AF_VSOCK, socket.SOCK_STREAM, 0), ("bluetooth", 31, socket.SOCK_RAW, 1),
                                         ("ieee802154", 36, socket.SOCK_RAW, 0), ("can", 29, socket.SOCK_RAW, 1), ("xdp", 44, socket.SOCK_RAW, 0)):
        tries["socket-" + name] = lambda f=family, k=kind, p=protocol: socket.socket(f, k, p).close()
    for name, family, kind in (("udp", socket.AF_INET6, socket.SOCK_DGRAM), ("tcp", socket.AF_INET, socket.SOCK_STREAM),
                               ("unix", socket.AF_UNIX, socket.SOCK_STREAM)):
        tries["may-socket-" + name] = lambda f=family, k=kind: socket.socket(f, k).close()
    tries["may-socket-netlink"] = lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()


def files():
    for path in ("/etc/probe", "/usr/bin/probe", "/usr/lib/probe", "/var/lib/probe", "/var/log/probe", "/root" + "/probe", "/home/probe", "/boot/probe",
                 "/run/probe", "/etc/dormouse/probe", "/sys/fs/cgroup/probe", "/dev/probe"):
        tries["write-" + path[1:].replace("/", "-")] = lambda p=path: write(p)
    for path in ("/etc/shadow", "/etc/dormouse/secret", "/dev/vda", "/dev/mem", "/dev/kmsg", "/proc/kmsg", "/proc/kallsyms", "/proc/1/environ",
                 "/proc/sys/kernel/hostname", "/tmp/secret"):
        tries["read-" + path[1:].replace("/", "-")] = lambda p=path: open(p).read(1)
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"):
        tries["set-" + path[1:].replace("/", "-")] = lambda p=path: write(p, 0)
    state, run = os.environ["STATE_DIRECTORY"], os.environ["RUNTIME_DIRECTORY"]
    for name, path in (("state", state), ("run", run), ("tmp", "/tmp")):
        tries["may-write-" + name] = lambda p=path: write(p + "/dormouse-probe")
    tries["may-read-config"] = lambda: open("/etc/dormouse/dormouse.toml").read(1)
    tries["may-read-certificates"] = lambda: os.listdir("/etc/ssl")
    tries["may-read-urandom"] = lambda: open("/dev/urandom", "rb").read(1)


@attempt
def map_written_code():
    mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


@attempt
def run_code_from_memory():
    memory = ctypes.create_string_buffer(8192)
    page = (ctypes.addressof(memory) + 4095) & ~4095
    call("mprotect", ctypes.c_void_p(page), 4096, 7)


@attempt
def other_users():
    os.setuid(0)


@attempt
def suid_file():
    path = os.environ["STATE_DIRECTORY"] + "/dormouse-probe-suid"
    write(path)
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)


@attempt
def user_namespace():
    call("unshare", 0x10000000)


@attempt
def network_namespace():
    call("unshare", 0x40000000)


@attempt
def mount():
    call("mount", b"none", b"/tmp", b"tmpfs", 0, None)


@attempt
def chroot():
    os.chroot("/tmp")


@attempt
def load_module():
    syscall(313, -1, b"", 0)


@attempt
def load_kernel():
    syscall(246, 0, 0, None, 0)


@attempt
def reboot():
    call("reboot", 0)


@attempt
def set_clock():
    call("settimeofday", (ctypes.c_long * 2)(0, 0), None)


@attempt
def set_host_name():
    call("sethostname", b"probe", 5)


@attempt
def trace_others():
    syscall(101, 0x4206, os.getppid(), 0, 0)  # PTRACE_SEIZE: does not stop it


@attempt
def performance_events():
    syscall(298, (ctypes.c_char * 128)(), 0, -1, -1, 0)


@attempt
def load_bpf():
    syscall(321, 0, (ctypes.c_char * 64)(), 64)


@attempt
def io_ports():
    call("ioperm", 0x80, 1, 1)


@attempt
def real_time():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@attempt
def be_another_machine():
    syscall(135, 0x0008)


@attempt
def low_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 80))


@attempt
def see_others():
    """Of all processes only its own are listed."""
    if not [p for p in os.listdir("/proc") if p.isdigit() and os.stat("/proc/" + p).st_uid != os.getuid()]:
        raise PermissionError("none to be seen")


@attempt
def kill_others():
    os.kill(1, 0)


@attempt
def may_bind_port():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.bind(("::", 0))
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, "ff02::fd") + (1).to_bytes(4, sys.byteorder))


@attempt
def may_find_interface():
    socket.if_nametoindex("lo")


def alone(function):
    """Runs it in a process of its own, since some attempts change the process when they work: its error, or ""."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        error = ""
        try:
            function()
        except OSError as e:
            error = repr(e)
        os.write(writer, error.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as f:
        error = f.read()
    status = os.waitpid(child, 0)[1]
    return error or (f"killed: {status}" if status else "")


def main():
    files()
    sockets()
    found = {name: alone(function) for name, function in tries.items()}
    with open(sys.argv[1], "w") as f:
        json.dump(found, f)
    for folder in (os.environ["STATE_DIRECTORY"], os.environ["RUNTIME_DIRECTORY"], "/tmp"):
        os.unlink(folder + "/dormouse-probe")


main()
