internal import Bytes
internal import COpenSSL
internal import Platform

/// What a node shows of itself and whom it trusts, as one reading of the files found it.
final class Credentials: @unchecked Sendable {
    // Unchecked: not changed once made; OpenSSL counts references to it atomically.
    let context: OpaquePointer

    private init(_ context: OpaquePointer) { self.context = context }

    deinit { SSL_CTX_free(context) }

    convenience init(_ contents: Contents, _ files: CredentialFiles) throws(TLSError) {
        ErrorQueue.clear()
        guard let context = chronik_tls_context() else {
            throw .handshake(reason: "no TLS 1.3: \(ErrorQueue.take().text)")
        }
        self.init(context)
        try useCertificates(contents.certificate, files.certificate)
        try useKey(contents.key, files.key)
        try trust(contents.authority, files.authority)
    }

    private func useCertificates(_ pem: ByteSlice, _ file: String) throws(TLSError) {
        for (place, certificate) in try Self.certificates(pem, file).enumerated() {
            let taken =
                place == 0
                ? SSL_CTX_use_certificate(context, certificate.x509)
                : chronik_tls_add_chain(context, certificate.x509)
            guard taken == 1 else { throw Self.unusable(file) }
        }
    }

    private func useKey(_ pem: ByteSlice, _ file: String) throws(TLSError) {
        let source = PEMSource(pem)
        guard let key = source.read(chronik_tls_read_key) else { throw Self.unusable(file) }
        defer { EVP_PKEY_free(key) }
        guard SSL_CTX_use_PrivateKey(context, key) == 1, SSL_CTX_check_private_key(context) == 1
        else { throw Self.unusable(file) }
    }

    private func trust(_ pem: ByteSlice, _ file: String) throws(TLSError) {
        let store = SSL_CTX_get_cert_store(context)
        for certificate in try Self.certificates(pem, file) {
            guard X509_STORE_add_cert(store, certificate.x509) == 1 else {
                throw Self.unusable(file)
            }
        }
    }

    /// All certificates of a file, at least one.
    private static func certificates(
        _ pem: ByteSlice,
        _ file: String
    ) throws(TLSError) -> [Certificate] {
        let source = PEMSource(pem)
        var found: [Certificate] = []
        while let next = source.read(chronik_tls_read_certificate) {
            found.append(Certificate(owning: next))
        }
        let (code, reason) = ErrorQueue.take()
        guard chronik_tls_is_end_of_pem(code) == 1 else {
            throw .unusable(file: file, reason: reason)
        }
        guard !found.isEmpty else { throw .unusable(file: file, reason: "no certificate in it") }
        return found
    }

    private static func unusable(_ file: String) -> TLSError {
        .unusable(file: file, reason: ErrorQueue.take().text)
    }
}

extension Credentials {
    /// The files as they were read.
    struct Contents {
        let certificate: ByteSlice
        let key: ByteSlice
        let authority: ByteSlice

        private static let maxBytes = 1 << 20

        init(_ files: CredentialFiles, _ system: FileSystem) throws(TLSError) {
            certificate = try Self.read(files.certificate, system)
            key = try Self.read(files.key, system)
            authority = try Self.read(files.authority, system)
        }

        private static func read(
            _ path: String,
            _ system: FileSystem
        ) throws(TLSError) -> ByteSlice {
            do {
                return try system.readAll(path, limit: maxBytes)
            } catch {
                throw .unusable(file: path, reason: "\(error)")
            }
        }

        /// The same for the same bytes only; keeps the key itself out of memory.
        var fingerprint: [UInt8] {
            var digests: [UInt8] = []
            for bytes in [certificate, key, authority] {
                var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
                _ = SHA256(
                    bytes.start?.assumingMemoryBound(to: UInt8.self),
                    bytes.count,
                    &digest
                )
                digests += digest
            }
            return digests
        }
    }
}

/// PEM text as OpenSSL reads it.
final class PEMSource {
    private let bio: OpaquePointer
    private let bytes: ByteSlice

    init(_ bytes: ByteSlice) {
        self.bytes = bytes.isEmpty ? ByteSlice([0x0a]) : bytes
        guard let bio = BIO_new_mem_buf(self.bytes.start, Int32(self.bytes.count)) else {
            preconditionFailure("no memory to read \(bytes.count) bytes of PEM")
        }
        self.bio = bio
    }

    deinit { BIO_free(bio) }

    /// Reads on, as `body` does; what it reads from stays until it has.
    func read(_ body: (OpaquePointer?) -> OpaquePointer?) -> OpaquePointer? {
        withExtendedLifetime(self) { body(bio) }
    }
}
