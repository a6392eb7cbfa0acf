import Foundation
import Platform
import Testing

@testable import TLS

/// A folder with an authority and what it signs, made by the `openssl` program.
final class CertificateAuthority: Sendable {
    let folder: String

    init() throws {
        folder = NSTemporaryDirectory() + "chronik-tls-" + UUID().uuidString
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: true
        )
        try openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            path("ca.key"),
            "-out",
            path("ca.pem"),
            "-days",
            "2",
            "-subj",
            "/CN=authority"
        )
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func path(_ name: String) -> String { folder + "/" + name }

    /// A certificate of those hosts, and its key; valid from yesterday for `days` days.
    func issue(
        _ name: String,
        for hosts: String = "IP:127.0.0.1",
        expired: Bool = false,
        usage: String = "serverAuth,clientAuth"
    ) throws -> CredentialFiles {
        try openssl(
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            path(name + ".key"),
            "-out",
            path(name + ".csr"),
            "-subj",
            "/CN=\(name)"
        )
        let extensions =
            "extendedKeyUsage=\(usage)\n" + (hosts.isEmpty ? "" : "subjectAltName=\(hosts)\n")
        try write(extensions, to: name + ".ext")
        try openssl(
            "x509",
            "-req",
            "-in",
            path(name + ".csr"),
            "-CA",
            path("ca.pem"),
            "-CAkey",
            path("ca.key"),
            "-out",
            path(name + ".pem"),
            "-days",
            expired ? "-1" : "2",
            "-extfile",
            path(name + ".ext")
        )
        return CredentialFiles(
            certificate: path(name + ".pem"),
            key: path(name + ".key"),
            authority: path("ca.pem")
        )
    }

    func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path(name)))
    }

    func copy(_ from: CredentialFiles, over to: CredentialFiles) throws {
        for (source, target) in [
            (from.certificate, to.certificate), (from.key, to.key), (from.authority, to.authority),
        ] where source != target {
            try Data(contentsOf: URL(fileURLWithPath: source)).write(
                to: URL(fileURLWithPath: target)
            )
        }
    }

    private func openssl(_ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        let complaints = Pipe()
        process.standardError = complaints
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        let said = complaints.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(text: String(decoding: said, as: UTF8.self))
        }
    }

    struct Failure: Error { let text: String }
}
