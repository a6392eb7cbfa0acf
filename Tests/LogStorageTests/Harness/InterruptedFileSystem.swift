import Platform

/// The real file system until an operation fails; from then on none works, if the test says so.
///
/// The process ends, not the machine: what was written is there, and syncing takes no time.
final class InterruptedFileSystem: FileSystem, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private let files: FileSystem
    /// Changes so far.
    private(set) var operations = 0
    /// The process ends in this operation, counted from 1: a write is done by half.
    var endsAt = Int.max
    /// One operation that fails, and those after it do not.
    var failsAt = Int.max

    /// Whether a file may have a second name.
    var hasLinks = true

    init(_ files: FileSystem) { self.files = files }

    fileprivate func begin(_ operation: String, _ path: String) throws(FileError) {
        operations += 1
        if operations == failsAt { throw FileError(.noSpace, operation: operation, path: path) }
        if operations >= endsAt { throw FileError(.powerCut, operation: operation, path: path) }
    }

    override func availableBytes(_ path: String) throws(FileError) -> Int {
        try files.availableBytes(path)
    }

    override func open(_ path: String, _ mode: Mode, direct: Bool) throws(FileError) -> File {
        if mode == .replace || mode == .create { try begin("open", path) }
        return InterruptedFile(try files.open(path, mode, direct: direct), of: self)
    }

    override func list(_ directory: String) throws(FileError) -> [String] {
        try files.list(directory)
    }

    override func exists(_ path: String) -> Bool { files.exists(path) }

    override func createDirectory(_ path: String) throws(FileError) {
        try files.createDirectory(path)
    }

    override func remove(_ path: String) throws(FileError) {
        try begin("remove", path)
        try files.remove(path)
    }

    override func rename(_ from: String, to: String) throws(FileError) {
        try begin("rename", from)
        try files.rename(from, to: to)
    }

    override func link(_ from: String, to: String) throws(FileError) {
        try begin("link", from)
        guard hasLinks else {
            throw FileError(.other(errno: 95), operation: "link", path: from)
        }
        try files.link(from, to: to)
    }

    override func syncDirectory(_ path: String) throws(FileError) {
        try begin("sync directory", path)
    }
}

private final class InterruptedFile: File, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private let file: File
    private let system: InterruptedFileSystem

    init(_ file: File, of system: InterruptedFileSystem) {
        self.file = file
        self.system = system
        super.init(path: file.path)
    }

    override var descriptor: Int32? { file.descriptor }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError) -> Int {
        try file.read(into: buffer, at: offset)
    }

    override func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        do {
            try system.begin("write", path)
        } catch {
            // Half of it is there, in whole blocks as direct writes want them.
            let half = bytes.count / 2 / FileSystem.directAlignment * FileSystem.directAlignment
            if half > 0 {
                try file.write(UnsafeRawBufferPointer(rebasing: bytes[..<half]), at: offset)
            }
            throw error
        }
        try file.write(bytes, at: offset)
    }

    override func sync() throws(FileError) {
        try system.begin("sync", path)
    }

    override func size() throws(FileError) -> Int { try file.size() }

    override func truncate(to size: Int) throws(FileError) {
        try system.begin("truncate", path)
        try file.truncate(to: size)
    }
}
