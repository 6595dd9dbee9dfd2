"""A scripted org.bluez on a bus of its own (fake_bluez_main.c), for daemons started with its env."""
import os
import subprocess

import lib

READ, NORESP, WRITE, NOTIFY, INDICATE = 0x02, 0x04, 0x08, 0x10, 0x20
NEEDS_BOND = 0x400


def short(n):
    return f"{n:08x}-0000-1000-8000-00805f9b34fb"


class Bluez:
    def __init__(self):
        path = os.path.join(lib.BUILD, "tests", "system", "fake-bluez")
        self.proc = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.bus = self.proc.stdout.readline().strip()
        assert self.bus, "the fake bluetoothd did not start"
        self.env = {"DBUS_SYSTEM_BUS_ADDRESS": self.bus}
        self.say("adapter", "hci0", "00:AA:01:00:00:00")

    def say(self, *words):
        self.proc.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.proc.stdin.flush()
        answer = self.proc.stdout.readline().split()
        assert answer and answer[0] == "ok", f"{words}: {answer}"
        return answer[1] if len(answer) > 1 else ""

    def node(self, address, name, *uuids):
        self.say("node", address, name, *uuids)

    def characteristic(self, address, service, uuid, flags, value=None):
        """Its handle as four hex digits."""
        handle = self.say("characteristic", address, service, uuid, f"{flags:x}")
        if value is not None:
            self.value(handle, value)
        return handle

    def value(self, handle, value):
        self.say("value", handle, value.hex())

    def notify(self, handle, value):
        return self.say("notify", handle, value.hex()) == "1"

    def written(self, handle):
        return bytes.fromhex(self.say("written", handle))

    def has_subscriber(self, handle):
        return self.say("subscriber", handle) == "1"

    def calls(self, where, method):
        return int(self.say("calls", where or "*", method))

    def fail(self, where, method, times, error, text="no"):
        self.say("fail", where or "*", method, times, error, text)

    def stop(self):
        if self.proc.poll() is None:
            self.proc.stdin.close()
            assert self.proc.wait(20 * lib.SLOW) == 0

    def kill9(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
