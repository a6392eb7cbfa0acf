import Bytes
import CGRPC

/// Below this length a piece is copied rather than shared with gRPC.
private let shareThreshold = 1024

/// A message for gRPC to send; large pieces are shared, not copied.
///
/// Sending consumes it: one for each send.
func makeByteBuffer(_ ropes: [ByteRope]) -> UnsafeMutablePointer<grpc_byte_buffer> {
    var slices: [grpc_slice] = []
    for rope in ropes {
        for piece in rope.pieces {
            guard case .bytes(let bytes) = piece else {
                preconditionFailure("a file piece in a gRPC message")
            }
            slices.append(makeSlice(bytes))
        }
    }
    guard let buffer = grpc_raw_byte_buffer_create(&slices, slices.count) else {
        preconditionFailure("gRPC made no buffer")
    }
    for slice in slices { grpc_slice_unref(slice) }
    return buffer
}

private func makeSlice(_ bytes: ByteSlice) -> grpc_slice {
    guard let start = bytes.start, let owner = bytes.owner, bytes.count >= shareThreshold else {
        return bytes.withUnsafeBytes { raw in
            grpc_slice_from_copied_buffer(
                raw.baseAddress?.assumingMemoryBound(to: CChar.self),
                raw.count
            )
        }
    }
    return grpc_slice_new_with_user_data(
        UnsafeMutableRawPointer(mutating: start),
        bytes.count,
        { owner in
            if let owner { Unmanaged<AnyObject>.fromOpaque(owner).release() }
        },
        Unmanaged.passRetained(owner).toOpaque()
    )
}

/// A copy of a received message in one piece; `nil` when it cannot be read.
func copyBytes(_ buffer: UnsafeMutablePointer<grpc_byte_buffer>) -> ByteSlice? {
    let count = grpc_byte_buffer_length(buffer)
    let storage = ByteStorage(capacity: count)
    guard cgrpc_copy_bytes(buffer, storage.start) != 0 else { return nil }
    return storage.slice(0..<count)
}

extension UnsafeMutablePointer<cgrpc_call> {
    /// The message just received, which is the caller's now; `nil` when there is none.
    func takeMessage() -> ByteSlice? {
        guard let buffer = pointee.message else { return nil }
        pointee.message = nil
        defer { grpc_byte_buffer_destroy(buffer) }
        return copyBytes(buffer)
    }
}

/// The bytes of a slice as text; what is no UTF-8 is repaired.
func text(of slice: borrowing grpc_slice) -> String {
    var slice = copy slice
    let bytes = UnsafeRawBufferPointer(
        start: cgrpc_slice_start(&slice),
        count: cgrpc_slice_count(&slice)
    )
    return String(decoding: bytes, as: UTF8.self)
}
