/// An open file; every call blocks, so none is made on an ``EventLoop``.
///
/// Closes itself when nobody holds it any more.
open class File: @unchecked Sendable {
    // Unchecked: positional reads and writes are safe from any thread; who writes where is the
    // owner's concern.
    public let path: String

    public init(path: String) { self.path = path }

    /// The kernel's handle, for `sendfile`; `nil` when the file is simulated.
    open var descriptor: Int32? { nil }

    /// Reads until `buffer` is full or the file ends; returns how many bytes were read.
    open func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError) -> Int {
        preconditionFailure("a file without an implementation")
    }

    /// Writes all of `bytes` or throws; what a failed write left behind is unknown.
    open func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        preconditionFailure("a file without an implementation")
    }

    /// Writes all of the buffers one after the other, gathered in one system call where possible.
    open func write(gathering buffers: [UnsafeRawBufferPointer], at offset: Int) throws(FileError) {
        var end = offset
        for buffer in buffers {
            try write(buffer, at: end)
            end += buffer.count
        }
    }

    /// Makes everything written so far survive a power cut (`fdatasync`).
    ///
    /// After an error nothing may be assumed about any earlier write: never call it again.
    open func sync() throws(FileError) {
        preconditionFailure("a file without an implementation")
    }

    open func size() throws(FileError) -> Int {
        preconditionFailure("a file without an implementation")
    }

    open func truncate(to size: Int) throws(FileError) {
        preconditionFailure("a file without an implementation")
    }

    /// Makes `offset..<offset+length` exist, without writing it: reads as zeros until written.
    open func allocate(_ length: Int, at offset: Int) throws(FileError) {
        preconditionFailure("a file without an implementation")
    }
}
