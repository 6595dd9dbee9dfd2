"""What the lab's Bluetooth LE nodes are made of: a peripheral on a virtual controller of its own, by BlueZ's GattManager1 and
LEAdvertisingManager1.

A node is a process. It tells of itself in a file (status.json), takes commands as lines on its standard input, registers itself
again when bluetoothd was restarted, and restarts as real ones do: the link drops, and what it offers may be something else then.
Values go through sockets where the flags allow it, as fast as BlueZ can (a D-Bus call for each would be the bottleneck)."""
import argparse
import json
import os
import socket
import sys
import time

import dbus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

BLUEZ, CHARACTERISTIC, SERVICE, DEVICE = "org.bluez", "org.bluez.GattCharacteristic1", "org.bluez.GattService1", "org.bluez.Device1"
PROPERTIES, MANAGER = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager"
VALUE_MAX = 495                            # BlueZ 5.66 loses what is longer
NOTHING = dbus.Dictionary(signature="sv")
OWN = "d0a0%04x-7a1b-4c6e-9d21-5f0e3b1c8a77"

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)


def uuid16(n):
    return f"{n:08x}-0000-1000-8000-00805f9b34fb"


class Characteristic(dbus.service.Object):
    """read() gives its bytes, write(bytes) takes some; wrong lengths and the like raise Refused."""

    def __init__(self, uuid, flags, read=None, write=None):
        super().__init__()
        self.uuid, self.flags, self.read, self.write = uuid, flags, read, write
        self.in_fd, self.in_watch, self.out, self.mtu, self.notifying = None, 0, None, 23, False

    def properties(self):
        p = {"Service": dbus.ObjectPath(self.service), "UUID": self.uuid, "Flags": dbus.Array(self.flags, signature="s")}
        if "write-without-response" in self.flags:
            p["WriteAcquired"] = False
        if "notify" in self.flags:
            p["NotifyAcquired"] = False
        return {CHARACTERISTIC: p}

    @dbus.service.method(CHARACTERISTIC, in_signature="a{sv}", out_signature="ay")
    def ReadValue(self, options):
        return dbus.ByteArray(self.read()[int(options.get("offset", 0)):])

    @dbus.service.method(CHARACTERISTIC, in_signature="aya{sv}", byte_arrays=True)
    def WriteValue(self, value, options):
        self.write(bytes(value))

    @dbus.service.method(CHARACTERISTIC, in_signature="a{sv}", out_signature="hq")
    def AcquireWrite(self, options):
        """What is not taken in time is lost by bluetoothd without a word: hence the large buffer."""
        self.let_go_write()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setsockopt(socket.SOL_SOCKET, 32, 4 << 20)      # SO_SNDBUFFORCE
        ours.setblocking(False)
        self.in_fd = ours
        self.in_watch = GLib.io_add_watch(ours.fileno(), GLib.IO_IN | GLib.IO_HUP, lambda *a: self.readable())
        fd = dbus.types.UnixFd(theirs.fileno())
        theirs.close()
        return fd, dbus.UInt16(options.get("mtu", 23))

    def drain(self):
        """What was written before a write to another characteristic is taken before it."""
        if self.in_fd is not None:
            self.readable(4096)

    def readable(self, most=64):
        for _ in range(most):
            try:
                value = self.in_fd.recv(1024)
            except BlockingIOError:
                return True
            except OSError:
                value = b""
            if not value:
                self.let_go_write()
                return False
            self.write(value)
            if self.in_fd is None:
                return False
        return True

    def let_go_write(self):
        if self.in_fd is not None:
            GLib.source_remove(self.in_watch)
            self.in_fd.close()
            self.in_fd = None

    @dbus.service.method(CHARACTERISTIC, in_signature="a{sv}", out_signature="hq")
    def AcquireNotify(self, options):
        self.let_go_notify()
        self.out, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.mtu = int(options.get("mtu", 23))
        fd = dbus.types.UnixFd(theirs.fileno())
        theirs.close()
        return fd, dbus.UInt16(self.mtu)

    def let_go_notify(self):
        self.notifying = False
        if self.out is not None:
            self.out.close()
            self.out = None

    @dbus.service.method(CHARACTERISTIC)
    def StartNotify(self):
        self.notifying = True

    @dbus.service.method(CHARACTERISTIC)
    def StopNotify(self):
        self.let_go_notify()

    def notify(self, value):
        """Whether somebody listened."""
        if self.out is not None:
            try:
                self.out.send(value)
                return True
            except OSError:
                self.let_go_notify()
        elif self.notifying:
            self.PropertiesChanged(CHARACTERISTIC, {"Value": dbus.ByteArray(value)}, [])
            return True
        return False

    @dbus.service.signal(PROPERTIES, signature="sa{sv}as")
    def PropertiesChanged(self, interface, changed, invalidated):
        pass

    def let_go(self):
        self.let_go_write()
        self.let_go_notify()


class Refused(dbus.DBusException):
    """An ATT error: Refused.length(), Refused.permission()."""

    @classmethod
    def length(cls):
        return cls("bad length", name="org.bluez.Error.InvalidValueLength")

    @classmethod
    def permission(cls):
        return cls("not now", name="org.bluez.Error.NotPermitted")


class Agent(dbus.service.Object):
    """Agrees to whatever pairing the other end wants, as a node without a display does."""
    AGENT = "org.bluez.Agent1"

    @dbus.service.method(AGENT)
    def Release(self):
        pass

    @dbus.service.method(AGENT, in_signature="ou")
    def RequestConfirmation(self, device, passkey):
        pass

    @dbus.service.method(AGENT, in_signature="o")
    def RequestAuthorization(self, device):
        pass

    @dbus.service.method(AGENT, in_signature="os")
    def AuthorizeService(self, device, uuid):
        pass

    @dbus.service.method(AGENT)
    def Cancel(self):
        pass


class Application(dbus.service.Object):
    """services: {uuid: [Characteristic]}. Exported under one path, that of its generation."""

    def __init__(self, bus, path, services):
        super().__init__(bus, path)
        self.path, self.services = path, services
        self.paths = {}
        for i, (uuid, characteristics) in enumerate(services.items()):
            service = f"{path}/s{i}"
            self.paths[service] = {SERVICE: {"UUID": uuid, "Primary": True}}
            for j, c in enumerate(characteristics):
                c.service = service
                c.add_to_connection(bus, f"{service}/c{j}")

    @dbus.service.method(MANAGER, out_signature="a{oa{sa{sv}}}")
    def GetManagedObjects(self):
        found = dict(self.paths)
        for characteristics in self.services.values():
            found.update({c.__dbus_object_path__: c.properties() for c in characteristics})
        return found

    def remove(self):
        for characteristics in self.services.values():
            for c in characteristics:
                c.let_go()
                c.remove_from_connection()
        self.remove_from_connection()


class Advertisement(dbus.service.Object):
    def __init__(self, bus, path, uuids, name, manufacturer=b""):
        super().__init__(bus, path)
        self.path, self.uuids, self.name, self.manufacturer = path, uuids, name, manufacturer

    @dbus.service.method(PROPERTIES, in_signature="s", out_signature="a{sv}")
    def GetAll(self, interface):
        p = {"Type": "peripheral", "LocalName": self.name, "Discoverable": True, "ServiceUUIDs": dbus.Array(self.uuids, signature="s")}
        if self.manufacturer:
            p["ManufacturerData"] = dbus.Dictionary({dbus.UInt16(0xffff): dbus.ByteArray(self.manufacturer)}, signature="qv")
        return p

    @dbus.service.method("org.bluez.LEAdvertisement1")
    def Release(self):
        pass


class Controller:
    """One controller: what is offered and advertised there, and who is connected."""

    def __init__(self, bus, hci, disconnected=None, agent=None):
        self.bus, self.hci, self.path, self.disconnected = bus, hci, "/org/bluez/" + hci, disconnected
        self.application = self.advertisement = None
        self.tries, self.generation, self.connects, self.error = 0, 0, 0, ""
        self.offer, self.agent, self.is_up = None, agent, False
        bus.add_signal_receiver(self.added, "InterfacesAdded", MANAGER, BLUEZ)
        bus.add_signal_receiver(self.removed, "InterfacesRemoved", MANAGER, BLUEZ)
        bus.add_signal_receiver(self.changed, "PropertiesChanged", PROPERTIES, BLUEZ, path_keyword="path", arg0=DEVICE)
        bus.watch_name_owner(BLUEZ, self.owner)

    def call(self, interface, method, *args, then=None, failed=None):
        o = self.bus.get_object(BLUEZ, self.path, introspect=False)
        o.get_dbus_method(method, interface)(*args, reply_handler=then or (lambda *a: None), error_handler=failed or self.complain, timeout=60)

    def complain(self, error):
        self.error = str(error)
        print(f"{self.hci}: {error}", file=sys.stderr, flush=True)

    def owner(self, name):
        """bluetoothd came, or went and took what was registered with it."""
        self.is_up = bool(name)
        if name and self.agent:
            o = self.bus.get_object(BLUEZ, "/org/bluez", introspect=False)
            for method, *more in ("RegisterAgent", "NoInputNoOutput"), ("RequestDefaultAgent",):
                o.get_dbus_method(method, "org.bluez.AgentManager1")(dbus.ObjectPath("/lab/agent"), *more, reply_handler=lambda *a: None,
                                                                     error_handler=self.complain)
        if not name:
            self.withdraw(tell=False)
        elif self.offer and self.application is None:
            self.attempt(50)

    def attempt(self, tries):
        """Its adapters come after its name, and their interfaces one by one."""
        def failed(error):
            self.withdraw()
            if tries == 0:
                self.complain(error)
            elif self.is_up and self.offer is not None:
                GLib.timeout_add(200, lambda: self.attempt(tries - 1))

        def named(*_):
            self.call(PROPERTIES, "Set", "org.bluez.Adapter1", "Powered", dbus.Boolean(True, variant_level=1), then=lambda *a: self.register(failed),
                      failed=failed)
        if self.is_up and self.offer is not None and self.application is None:
            self.call(PROPERTIES, "Set", "org.bluez.Adapter1", "Alias", dbus.String(self.offer()[2], variant_level=1), then=named, failed=named)
        return False

    def register(self, failed):
        if self.offer is None or self.application is not None:
            return
        services, uuids, name, manufacturer = self.offer()
        path = dbus.ObjectPath(f"/lab/{self.hci}/g{self.tries}")
        self.tries += 1
        self.application = Application(self.bus, path, services)
        self.advertisement = Advertisement(self.bus, path + "/advertisement", uuids, name, manufacturer)
        # The services first: who hears the advertisement may connect at once.
        self.call("org.bluez.GattManager1", "RegisterApplication", path, NOTHING, then=lambda: self.advertise(failed), failed=failed)

    def advertise(self, failed):
        def done():
            self.generation += 1
        if self.advertisement is not None:
            self.call("org.bluez.LEAdvertisingManager1", "RegisterAdvertisement", dbus.ObjectPath(self.advertisement.path), NOTHING, then=done, failed=failed)

    def serve(self, offer):
        """offer() gives ({service: [characteristics]}, advertised uuids, name, manufacturer data): asked at each registration."""
        self.offer = offer
        if self.is_up:
            self.attempt(50)

    def hush(self, tell=True):
        if self.advertisement is not None:
            if tell:
                self.call("org.bluez.LEAdvertisingManager1", "UnregisterAdvertisement", dbus.ObjectPath(self.advertisement.path), failed=lambda e: None)
            self.advertisement.remove_from_connection()
            self.advertisement = None

    def withdraw(self, tell=True):
        self.hush(tell)
        if self.application is not None:
            if tell:
                self.call("org.bluez.GattManager1", "UnregisterApplication", dbus.ObjectPath(self.application.path), failed=lambda e: None)
            self.application.remove()
            self.application = None

    def changed(self, interface, changed, invalidated, path):
        if path.startswith(self.path + "/dev_") and "Connected" in changed:
            if changed["Connected"]:
                self.connects += 1
            elif self.disconnected:
                self.disconnected()

    def added(self, path, interfaces):
        """A central that was never here before."""
        if path.startswith(self.path + "/dev_") and interfaces.get(DEVICE, {}).get("Connected"):
            self.connects += 1
        elif path == self.path and "org.bluez.Adapter1" in interfaces and self.offer and self.application is None:
            self.attempt(50)

    def removed(self, path, interfaces):
        """The controller is gone, and what was registered with it."""
        if path == self.path and "org.bluez.Adapter1" in interfaces:
            self.withdraw(tell=False)
            if self.disconnected:
                self.disconnected()

    def drop_links(self, then):
        """Disconnects whoever is connected, as a restart does."""
        def listed(objects):
            links = [p for p, i in objects.items() if p.startswith(self.path + "/dev_") and i.get(DEVICE, {}).get("Connected")]
            left = len(links)

            def one(*_):
                nonlocal left
                left -= 1
                if left <= 0:
                    then()
            if not links:
                then()
            for p in links:
                self.bus.get_object(BLUEZ, p, introspect=False).get_dbus_method("Disconnect", DEVICE)(reply_handler=one, error_handler=one)
        root = self.bus.get_object(BLUEZ, "/", introspect=False)
        root.get_dbus_method("GetManagedObjects", MANAGER)(reply_handler=listed, error_handler=lambda e: then())

    def stop(self, then=lambda: None):
        """Off the air."""
        self.offer = None

        def quiet():
            self.withdraw()
            then()
        if self.is_up:
            self.hush()
            self.drop_links(quiet)
        else:
            quiet()


class Node:
    """A process with its files. Subclasses give offer(), and status() for more to tell."""

    def __init__(self, options):
        self.options, self.state = options, options.state
        os.makedirs(self.state, exist_ok=True)
        self.bus, self.loop = dbus.SystemBus(private=True), GLib.MainLoop()
        self.controller = Controller(self.bus, options.hci, self.disconnected, Agent(self.bus, "/lab/agent") if options.pairs else None)
        self.battery_level, self.note, self.restarts, self.told = 100, b"", 0, None
        self.battery = self.level = None

    @staticmethod
    def parser(description):
        p = argparse.ArgumentParser(description=description)
        p.add_argument("hci")
        p.add_argument("--state", required=True, help="directory of its flash memory and of status.json")
        p.add_argument("--name", default="")
        p.add_argument("--pairs", action="store_true", help="agrees to being paired with, without a proof")
        p.add_argument("--boot-ms", type=int, default=500, help="how long a restart takes")
        return p

    # what every node offers beside its own services

    def common(self, version):
        """Device information, a battery (which BlueZ keeps for itself at the other end), and a service of our own: 1 keeps what is
        written to it, 2 is for paired ones, 3 is the battery once more, 4 counts the bytes that are streamed to it."""
        def keep(value):
            if len(value) > 64:
                raise Refused.length()
            self.note = value
        self.battery = Characteristic(uuid16(0x2a19), ["read", "notify"], read=lambda: bytes([self.battery_level]))
        self.level = Characteristic(OWN % 3, ["read", "notify"], read=lambda: bytes([self.battery_level]))
        return {
            uuid16(0x180a): [Characteristic(uuid16(0x2a26), ["read"], read=lambda: version.encode()),
                             Characteristic(uuid16(0x2a24), ["read"], read=lambda: b"lab-1")],
            uuid16(0x180f): [self.battery],
            OWN % 0: [Characteristic(OWN % 1, ["read", "write"], read=lambda: self.note, write=keep),
                      Characteristic(OWN % 2, ["encrypt-read"], read=lambda: b"secret"), self.level,
                      Characteristic(OWN % 4, ["read", "write-without-response"], read=lambda: b"%d" % self.swallowed, write=self.swallow)],
        }

    swallowed = 0

    def swallow(self, value):
        self.swallowed += len(value)

    def disconnected(self):
        pass

    # files and commands

    def path(self, name):
        return os.path.join(self.state, name)

    def load(self, name):
        try:
            with open(self.path(name), "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""

    def save(self, name, data):
        with open(self.path(name + ".new"), "wb") as f:
            f.write(data)
        os.rename(self.path(name + ".new"), self.path(name))

    def tell(self):
        status = {"connects": self.controller.connects, "restarts": self.restarts, "error": self.controller.error, "note": self.note.hex(),
                  "swallowed": self.swallowed, "registered": self.controller.generation, **self.status()}
        if status != self.told:
            self.told = status
            self.save("status.json", json.dumps(status).encode())
        return True

    def status(self):
        return {}

    def command(self, words):
        """A line of standard input."""
        if words[0] == "battery":
            self.battery_level = int(words[1])
            self.battery.notify(bytes([self.battery_level]))
            self.level.notify(bytes([self.battery_level]))
        elif words[0] == "away":                               # out of range for so many seconds
            self.controller.stop(lambda: GLib.timeout_add(int(float(words[1]) * 1000), self.back))
        else:
            print("unknown command", words, file=sys.stderr, flush=True)

    def back(self):
        self.controller.serve(self.offer)
        return False

    def restart(self, boot):
        """Drops its links, is off for a moment, and calls boot(), which serves again."""
        self.restarts += 1

        def up():
            boot()
            return False
        self.controller.stop(lambda: GLib.timeout_add(self.options.boot_ms, up))

    def lines(self, *_):
        text = os.read(sys.stdin.fileno(), 4096).decode()
        for line in text.splitlines():
            self.command(line.split())
        if not text:
            self.loop.quit()
        return bool(text)

    def run(self):
        self.controller.serve(self.offer)
        GLib.timeout_add(100, self.tell)
        GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, self.lines)
        self.loop.run()


def log(*words):
    print(f"{time.monotonic():.3f}", *words, flush=True)
