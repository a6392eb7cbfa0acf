import Bytes
import Foundation
import Raft
import RaftRuntime
import RaftTransport

/// Directories of hosts, gone when nobody holds this any more.
final class Folder: Sendable {
    static let threads = RaftThreads(eventLoops: 2)

    let path = NSTemporaryDirectory() + "raft-hosts-\(UUID().uuidString)"

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Bytes in the files of a node.
    func size(of node: UInt64) throws -> Int {
        let root = path + "/\(node)"
        return try FileManager.default.subpathsOfDirectory(atPath: root).reduce(0) { sum, name in
            let found = try FileManager.default.attributesOfItem(atPath: root + "/" + name)
            return sum + (found[.size] as? Int ?? 0)
        }
    }

    /// Flips a bit in the middle of a file.
    func damage(_ file: String) throws {
        let url = URL(fileURLWithPath: path + "/" + file)
        var content = try Data(contentsOf: url)
        content[content.count / 2] ^= 1
        try content.write(to: url)
    }

    func configuration(
        _ node: UInt64,
        network: (any RaftNetwork)? = nil
    ) -> RaftHostConfiguration {
        var configuration = RaftHostConfiguration(
            cluster: "test",
            node: ReplicaID(node),
            directory: path + "/\(node)",
            network: network
        )
        configuration.logFileBytes = 1 << 20
        configuration.logBytes = 8 << 20
        return configuration
    }
}

extension ByteSlice {
    static func set(_ key: String, _ value: String) -> ByteSlice {
        MemoryStateMachine.Command.set(key: key, value: value).encoded
    }
}
