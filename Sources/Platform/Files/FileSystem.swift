public import Bytes

/// The files of a node; every call blocks, so none is made on an ``EventLoop``.
///
/// A created, renamed or removed name survives a power cut only after ``syncDirectory(_:)``.
open class FileSystem: @unchecked Sendable {
    // Unchecked: stateless over the kernel, or synchronised by the simulator's single thread.
    public enum Mode: Sendable {
        case read
        /// Must exist.
        case readWrite
        /// Made if it does not exist; kept as it is if it does.
        case create
        /// Made empty, whether it existed or not.
        case replace
    }

    public init() {}

    /// Opens a file, `direct` if its owner aligns everything itself.
    ///
    /// Direct access bypasses the page cache (`O_DIRECT`): offsets, lengths and addresses of reads
    /// and writes must be multiples of ``directAlignment``. Falls back to buffered access where
    /// the file system has no direct one.
    open func open(_ path: String, _ mode: Mode, direct: Bool) throws(FileError) -> File {
        preconditionFailure("a file system without an implementation")
    }

    public final func open(_ path: String, _ mode: Mode) throws(FileError) -> File {
        try open(path, mode, direct: false)
    }

    public static let directAlignment = 4096

    /// Names in a directory, sorted; without `.` and `..`.
    open func list(_ directory: String) throws(FileError) -> [String] {
        preconditionFailure("a file system without an implementation")
    }

    open func exists(_ path: String) -> Bool {
        preconditionFailure("a file system without an implementation")
    }

    /// Makes the directory and those above it; one that exists is fine.
    open func createDirectory(_ path: String) throws(FileError) {
        preconditionFailure("a file system without an implementation")
    }

    /// Removes a file or an empty directory.
    open func remove(_ path: String) throws(FileError) {
        preconditionFailure("a file system without an implementation")
    }

    /// Replaces `to` if it exists.
    open func rename(_ from: String, to: String) throws(FileError) {
        preconditionFailure("a file system without an implementation")
    }

    /// Gives the file `from` a second name; there is no file `to`.
    open func link(_ from: String, to: String) throws(FileError) {
        preconditionFailure("a file system without an implementation")
    }

    open func syncDirectory(_ path: String) throws(FileError) {
        preconditionFailure("a file system without an implementation")
    }

    /// Bytes that may still be written under `path`.
    open func availableBytes(_ path: String) throws(FileError) -> Int {
        preconditionFailure("a file system without an implementation")
    }

    /// Takes the directory for this process alone until the returned lock is gone.
    ///
    /// - Throws: `EAGAIN` when another process holds it.
    open func lock(_ path: String) throws(FileError) -> AnyObject {
        preconditionFailure("a file system without an implementation")
    }
}

extension FileSystem {
    /// Replaces a small file so that a power cut leaves either the old or the new one, whole.
    public final func replaceAtomically(_ path: String, with bytes: ByteSlice) throws(FileError) {
        let temporary = path + ".tmp"
        let file = try open(temporary, .replace)
        try bytes.withUnsafeBytes { (buffer) throws(FileError) in try file.write(buffer, at: 0) }
        try file.sync()
        try rename(temporary, to: path)
        try syncDirectory(Self.parent(of: path))
    }

    /// The whole file, which may not be larger than `limit`.
    public final func readAll(_ path: String, limit: Int) throws(FileError) -> ByteSlice {
        let file = try open(path, .read)
        let size = try file.size()
        guard size <= limit else { throw FileError(.tooLarge, operation: "read", path: path) }
        let storage = ByteStorage(capacity: size)
        let count = try file.read(
            into: UnsafeMutableRawBufferPointer(start: storage.start, count: size),
            at: 0
        )
        return storage.slice(0..<count)
    }

    /// Removes a directory and all in it; one that does not exist is fine.
    public final func removeTree(_ path: String) throws(FileError) {
        guard exists(path) else { return }
        if let names = try? list(path) {
            for name in names { try removeTree(path + "/" + name) }
        }
        try remove(path)
    }

    public static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
