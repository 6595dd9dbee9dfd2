"""A small central: what the gateway does, by the plainest of D-Bus calls. It shows that nodes and emulation are sound where a test
of the gateway fails, and gives the figures that the gateway's are compared with."""
import os
import time

import dbus
from gi.repository import GLib

from ble_peripheral import BLUEZ, CHARACTERISTIC, DEVICE, MANAGER, PROPERTIES, VALUE_MAX


class Client:
    def __init__(self, hci="hci0"):
        self.bus, self.path = dbus.SystemBus(private=True), "/org/bluez/" + hci
        self.device = None

    def interface(self, path, name):
        return dbus.Interface(self.bus.get_object(BLUEZ, path, introspect=False), name)

    def objects(self):
        return self.interface("/", MANAGER).GetManagedObjects()

    def wait(self, test, what, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while GLib.MainContext.default().iteration(False):
                pass
            found = test()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{what}: did not happen within {seconds} s")

    def adapter(self, method, *args):
        return getattr(self.interface(self.path, "org.bluez.Adapter1"), method)(*args)

    def find(self, address):
        path = f"{self.path}/dev_{address.replace(':', '_')}"
        self.adapter("SetDiscoveryFilter", dbus.Dictionary({"Transport": "le"}, signature="sv"))
        self.adapter("StartDiscovery")
        self.wait(lambda: path in self.objects(), f"{address} is heard")
        self.adapter("StopDiscovery")
        return path

    def property(self, name):
        return self.objects().get(self.device, {}).get(DEVICE, {}).get(name)

    def connect(self, address):
        """A link that an earlier bluetoothd left behind is of no use: it ends by itself after a moment."""
        self.device = self.find(address)
        self.wait(lambda: not self.property("Connected"), "the old link ends")
        self.interface(self.device, DEVICE).Connect(timeout=60)
        self.wait(lambda: self.property("ServicesResolved"), "its services are known")
        return self

    def characteristic(self, uuid):
        for path, interfaces in self.objects().items():
            if path.startswith(self.device + "/") and interfaces.get(CHARACTERISTIC, {}).get("UUID") == uuid:
                return self.interface(path, CHARACTERISTIC)
        raise AssertionError(f"no characteristic {uuid}")

    def uuids(self):
        return {i[CHARACTERISTIC]["UUID"] for p, i in self.objects().items() if p.startswith(self.device + "/") and CHARACTERISTIC in i}

    def read(self, uuid):
        return bytes(self.characteristic(uuid).ReadValue(dbus.Dictionary(signature="sv")))

    def write(self, uuid, value):
        self.characteristic(uuid).WriteValue(dbus.ByteArray(value), dbus.Dictionary({"type": "request"}, signature="sv"))

    def stream(self, uuid):
        """(fd, bytes at once)"""
        fd, mtu = self.characteristic(uuid).AcquireWrite(dbus.Dictionary(signature="sv"))
        fd = fd.take()
        os.set_blocking(fd, True)
        return fd, min(int(mtu) - 3, VALUE_MAX)

    def listen(self, uuid):
        fd, _ = self.characteristic(uuid).AcquireNotify(dbus.Dictionary(signature="sv"))
        fd = fd.take()
        os.set_blocking(fd, True)
        return fd

    def disconnect(self):
        self.interface(self.device, DEVICE).Disconnect()

    def forget(self):
        """BlueZ knows nothing of it any more."""
        self.adapter("RemoveDevice", dbus.ObjectPath(self.device))

    def adapters(self):
        return {p.rsplit("/", 1)[1]: i["org.bluez.Adapter1"] for p, i in self.objects().items() if "org.bluez.Adapter1" in i}

    def power(self, hci, on):
        self.interface("/org/bluez/" + hci, PROPERTIES).Set("org.bluez.Adapter1", "Powered", dbus.Boolean(on, variant_level=1))
