internal import Bytes
internal import COpenSSL

/// A certificate and the names of hosts in it.
final class Certificate {
    let x509: OpaquePointer

    init(owning x509: OpaquePointer) { self.x509 = x509 }

    /// The first certificate of a PEM text; `nil` if there is none in it.
    convenience init?(pem: ByteSlice) {
        guard let x509 = PEMSource(pem).read(chronik_tls_read_certificate) else {
            ERR_clear_error()
            return nil
        }
        self.init(owning: x509)
    }

    deinit { X509_free(x509) }

    /// Whether a subject alternative name is that host: the address itself, or the DNS name.
    ///
    /// A wildcard stands for one label. The subject's common name counts for nothing.
    func isOf(_ host: String) -> Bool {
        if let address = a2i_IPADDRESS(host) {
            ASN1_OCTET_STRING_free(address)
            return X509_check_ip_asc(x509, host, 0) == 1
        }
        ERR_clear_error()
        let flags = UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
        return X509_check_host(x509, host, host.utf8.count, flags, nil) == 1
    }

    /// The hosts it names, for messages.
    var hosts: [String] {
        guard let found = X509_get_ext_d2i(x509, NID_subject_alt_name, nil, nil) else { return [] }
        let names = OpaquePointer(found)
        defer { GENERAL_NAMES_free(names) }
        return (0..<chronik_tls_name_count(names)).compactMap { place in
            guard let name = chronik_tls_name(names, place) else { return nil }
            var count: Int32 = 0
            if let text = chronik_tls_dns_name(name, &count) {
                let bytes = UnsafeBufferPointer(start: text, count: Int(count))
                return Self.printable(bytes)
            }
            if let address = chronik_tls_address(name, &count) {
                return Self.address(UnsafeBufferPointer(start: address, count: Int(count)))
            }
            return nil
        }
    }

    /// At most 255 characters of a name, and nothing in it that a log line would stumble over.
    private static func printable(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
        String(
            decoding: bytes.prefix(255).map { (0x21...0x7e).contains($0) ? $0 : 0x3f },
            as: UTF8.self
        )
    }

    private static func address(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
        if bytes.count == 4 { return bytes.map { "\($0)" }.joined(separator: ".") }
        return stride(from: 0, to: bytes.count - 1, by: 2)
            .map { String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16) }
            .joined(separator: ":")
    }
}
