internal import Bytes
internal import Platform
internal import Synchronization

/// The credentials in use, taken anew from the files whenever those have changed.
///
/// Looked at before each handshake, on a worker; connections that are open keep what they were
/// made with. Files that cannot be used leave the old ones in force.
final class CredentialStore: Sendable {
    private struct State {
        var credentials: Credentials
        var fingerprint: [UInt8]
        /// What was found unusable, so that it is told once.
        var refused: String?
    }

    private static let log = Logger("tls")

    private let files: CredentialFiles
    private let system: FileSystem
    private let worker: Worker
    private let state: Mutex<State>

    /// Reads the files here and now.
    init(_ files: CredentialFiles, _ system: FileSystem, worker: Worker) throws(TLSError) {
        self.files = files
        self.system = system
        self.worker = worker
        let contents = try Credentials.Contents(files, system)
        state = Mutex(
            State(
                credentials: try Credentials(contents, files),
                fingerprint: contents.fingerprint
            )
        )
    }

    func current() async -> Credentials {
        await worker.run { self.reread() }
    }

    private func reread() -> Credentials {
        let old = state.withLock { $0 }
        do {
            let contents = try Credentials.Contents(files, system)
            let fingerprint = contents.fingerprint
            guard fingerprint != old.fingerprint else {
                state.withLock { $0.refused = nil }
                return old.credentials
            }
            let new = try Credentials(contents, files)
            state.withLock { $0 = State(credentials: new, fingerprint: fingerprint) }
            Self.log.info("certificates changed: new connections use the new ones")
            return new
        } catch {
            let reason = "\(error)"
            if old.refused != reason {
                state.withLock { $0.refused = reason }
                Self.log.error(
                    "changed certificates cannot be used; the old ones stay in force",
                    ["error": reason]
                )
            }
            return old.credentials
        }
    }
}
