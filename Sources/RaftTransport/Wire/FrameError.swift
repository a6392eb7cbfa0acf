package import Bytes

/// Why bytes from a peer are no frame; the connection they came on is closed.
package enum FrameError: Error, Equatable {
    /// A field that ends too soon, is too long or too large.
    case malformed(MalformedBytes)
    case checksumMismatch(stored: UInt32, computed: UInt32)
    /// Longer than this node takes; refused before memory is set aside.
    case oversized(length: Int, limit: Int)
    /// A format of frames that this version does not read.
    case unknownFormat(UInt8)
    case unknownFrameKind(UInt8)
    case unknownMessageKind(UInt8)
    case unknownEntryKind(UInt8)
    /// A frame that does not belong on a stream of this kind.
    case wrongStream(UInt8)
    /// The stream ended within a frame.
    case cutShort
}
