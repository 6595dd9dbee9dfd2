"""A vendor's certificates, revocation lists and OCSP answers, good and bad, without waiting for openssl(1)."""
import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID


def utc(days=0, seconds=0):
    return datetime.datetime.utcnow().replace(microsecond=0) + datetime.timedelta(days=days, seconds=seconds)


class Cert:
    def __init__(self, cert, key, issuer):
        self.cert, self.key, self.issuer = cert, key, issuer

    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def key_pem(self):
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Pki:
    """A vendor's authority: root, intermediate, signers, an OCSP responder's certificate, one for the web server. Each
    issued certificate points at ocsp_url and crl_url when these are given. Files are written where openssl and
    dormousectl can read them."""

    def __init__(self, folder, name="vendor", ocsp_url=None, crl_url=None):
        self.folder, self.name, self.ocsp_url, self.crl_url = os.path.join(folder, "pki-" + name), name, ocsp_url, crl_url
        os.makedirs(self.folder)
        self.crl_number = 0
        self.root = self._issue(f"{name} root", None, ca=True, days=(-10, 3650))
        self.web = self.issue(f"{name} web", eku=ExtendedKeyUsageOID.SERVER_AUTH, points=False, ip="127.0.0.1")
        self.responder = self.issue(f"{name} responder", eku=ExtendedKeyUsageOID.OCSP_SIGNING, points=False, no_check=True)
        self.signer = self.issue(f"{name} signer")
        self.root_file = self.write("root.pem", self.root.pem())

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def _issue(self, cn, issuer, ca=False, days=(-1, 365), eku=None, ip=None, no_check=False, ocsp_url=None, crl_url=None,
               path_length=None):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
        b = (x509.CertificateBuilder().subject_name(name).issuer_name(issuer.cert.subject if issuer else name)
             .public_key(key.public_key()).serial_number(x509.random_serial_number())
             .not_valid_before(utc(days[0])).not_valid_after(utc(days[1]))
             .add_extension(x509.BasicConstraints(ca, path_length), True)
             .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
             .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False))
        if issuer:
            b = b.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False)
        if eku:
            b = b.add_extension(x509.ExtendedKeyUsage([eku]), False)
        if ip:
            b = b.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ip))]), False)
        if no_check:
            b = b.add_extension(x509.OCSPNoCheck(), False)
        if ocsp_url:
            b = b.add_extension(x509.AuthorityInformationAccess([x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp_url))]), False)
        if crl_url:
            b = b.add_extension(x509.CRLDistributionPoints([x509.DistributionPoint(
                [x509.UniformResourceIdentifier(crl_url)], None, None, None)]), False)
        return Cert(b.sign(issuer.key if issuer else key, hashes.SHA256()), key, issuer)

    def issue(self, cn, issuer=None, eku=ExtendedKeyUsageOID.CODE_SIGNING, points=True, **kw):
        """A certificate under issuer (default: the root). points: name the OCSP responder and CRL that this Pki was made with;
        ocsp_url= and crl_url= override. days=(from, to) relative to now."""
        if points:
            kw.setdefault("ocsp_url", self.ocsp_url)
            kw.setdefault("crl_url", self.crl_url)
        return self._issue(cn, issuer or self.root, eku=eku, **kw)

    def issue_ca(self, cn, issuer=None, **kw):
        kw.setdefault("ocsp_url", self.ocsp_url)
        kw.setdefault("crl_url", self.crl_url)
        return self._issue(cn, issuer or self.root, ca=True, path_length=0, **kw)

    def crl(self, issuer=None, revoked=(), age_s=0, life_s=86400):
        """DER of a CRL by issuer that lists the certificates revoked, made age_s ago and good for life_s from then."""
        issuer = issuer or self.root
        self.crl_number += 1
        b = (x509.CertificateRevocationListBuilder().issuer_name(issuer.cert.subject)
             .last_update(utc(seconds=-age_s)).next_update(utc(seconds=life_s - age_s))
             .add_extension(x509.CRLNumber(self.crl_number), False)
             .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False))
        for c in revoked:
            b = b.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(c.cert.serial_number)
                                          .revocation_date(utc(seconds=-age_s))
                                          .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), False).build())
        return b.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def ocsp_answer(self, cert, status="good", age_s=0, life_s=3600, responder=None, nonce=None):
        """DER of an OCSP answer about cert: good, revoked or unknown."""
        responder = responder or self.responder
        kind = {"good": ocsp.OCSPCertStatus.GOOD, "revoked": ocsp.OCSPCertStatus.REVOKED,
                "unknown": ocsp.OCSPCertStatus.UNKNOWN}[status]
        b = ocsp.OCSPResponseBuilder().add_response(
            cert=cert.cert, issuer=cert.issuer.cert, algorithm=hashes.SHA1(), cert_status=kind,
            this_update=utc(seconds=-age_s), next_update=utc(seconds=life_s - age_s),
            revocation_time=utc(seconds=-age_s) if status == "revoked" else None,
            revocation_reason=x509.ReasonFlags.key_compromise if status == "revoked" else None)
        b = b.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.cert).certificates([responder.cert])
        if nonce is not None:
            b = b.add_extension(x509.OCSPNonce(nonce), False)
        return b.sign(responder.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
