import CGRPC

/// gRPC's C core, which comes into the process with its first use.
package enum GRPCLibrary {
    /// Why gRPC cannot be used.
    package struct Missing: Error, CustomStringConvertible {
        package let reason: String

        package var description: String { "gRPC cannot be loaded: \(reason)" }
    }

    /// Brings the library in, which takes its time, unless it is there already.
    package static func load() throws(Missing) {
        if let reason = cgrpc_load() { throw Missing(reason: String(cString: reason)) }
    }

    /// For those who made sure, or cannot go on without.
    static let initialized: Void = {
        do throws(Missing) {
            try load()
        } catch {
            preconditionFailure("\(error)")
        }
        cgrpc_initialize()
    }()
}
