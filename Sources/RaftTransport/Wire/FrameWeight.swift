internal import Bytes
package import RaftRuntime

extension PeerFrame {
    /// Bytes it takes on the wire, headers included.
    package var encodedBytes: Int {
        var bytes = 0
        FrameCodec.encode(self) { _, body in bytes += FrameHeader.byteCount + body.count }
        return bytes
    }
}
