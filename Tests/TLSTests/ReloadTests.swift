import Platform
import Testing

@testable import TLS

@Suite(.timeLimit(.minutes(5))) struct `Changed certificates` {
    let authority: CertificateAuthority

    init() throws { authority = try CertificateAuthority() }

    /// The hosts that node 2's certificate names to one who calls it.
    private func shown(by stage: NodeTLS, to caller: NodeTLS) async throws -> [String] {
        try await Machine.on {
            let pair = try await Pair.connect(caller, stage)
            defer { pair.close() }
            let socket = try #require(try pair.caller.get() as? TLSSocket)
            return socket.certificate?.hosts ?? []
        }
    }

    @Test func `new ones are shown to the next who calls`() async throws {
        let files = try authority.issue("node")
        let newer = try authority.issue("newer", for: "DNS:new.example,IP:127.0.0.1")
        let caller = try Machine.stage(try authority.issue("caller"))
        let stage = try Machine.stage(files)
        #expect(try await shown(by: stage, to: caller) == ["127.0.0.1"])
        try authority.copy(newer, over: files)
        #expect(try await shown(by: stage, to: caller) == ["new.example", "127.0.0.1"])
    }

    @Test func `broken ones leave the old in force until they are mended`() async throws {
        let files = try authority.issue("node")
        let newer = try authority.issue("newer", for: "DNS:new.example,IP:127.0.0.1")
        let caller = try Machine.stage(try authority.issue("caller"))
        let stage = try Machine.stage(files)
        try authority.write("-----BEGIN CERTIFICATE-----\nMIIB", to: "node.pem")
        #expect(try await shown(by: stage, to: caller) == ["127.0.0.1"])
        try authority.write("", to: "node.key")
        #expect(try await shown(by: stage, to: caller) == ["127.0.0.1"])
        // A certificate whose key has not come yet.
        try authority.copy(
            CredentialFiles(
                certificate: newer.certificate,
                key: files.key,
                authority: files.authority
            ),
            over: files
        )
        #expect(try await shown(by: stage, to: caller) == ["127.0.0.1"])
        try authority.copy(newer, over: files)
        #expect(try await shown(by: stage, to: caller) == ["new.example", "127.0.0.1"])
    }

    @Test func `an authority taken away lets nobody of its own in any more`() async throws {
        let files = try authority.issue("node")
        let other = try CertificateAuthority()
        let caller = try Machine.stage(try authority.issue("caller"))
        // Its own copy of the authorities, so that only one side changes its mind.
        try authority.copy(files, over: files)
        let mine = CredentialFiles(
            certificate: files.certificate,
            key: files.key,
            authority: authority.path("mine.pem")
        )
        try authority.copy(files, over: mine)
        let stage = try Machine.stage(mine)
        #expect(try await shown(by: stage, to: caller) == ["127.0.0.1"])
        try authority.copy(
            CredentialFiles(
                certificate: files.certificate,
                key: files.key,
                authority: other.path("ca.pem")
            ),
            over: mine
        )
        try await Machine.on {
            let pair = try await Pair.connect(caller, stage)
            defer { pair.close() }
            guard case .untrusted = await pair.refusal else {
                Issue.record("let in: \(pair.caller), \(await pair.called)")
                return
            }
        }
    }

    @Test func `files that cannot be used are named at the start`() throws {
        let files = try authority.issue("node")
        let other = try authority.issue("other")
        func problem(_ change: (inout CredentialFiles) -> Void) -> String {
            var changed = files
            change(&changed)
            do {
                _ = try Machine.stage(changed)
                return "none"
            } catch {
                return "\(error)"
            }
        }
        #expect(problem { _ in } == "none")
        #expect(problem { $0.key = other.key }.contains("key values mismatch"))
        #expect(problem { $0.certificate += ".gone" }.contains("no such file"))
        #expect(problem { $0.certificate = files.key }.contains("no certificate in it"))
        #expect(problem { $0.authority = files.key }.contains("no certificate in it"))
    }
}
