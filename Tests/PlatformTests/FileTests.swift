import Bytes
import Glibc
import Platform
import Testing

@Suite struct FileTests {
    private let files = Machine.platform.files

    private func bytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    }

    private func write(_ bytes: [UInt8], to file: File, at offset: Int) throws {
        try bytes.withUnsafeBytes { try file.write($0, at: offset) }
    }

    private func read(_ count: Int, of file: File, at offset: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xee, count: count)
        let n = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: offset) }
        return Array(bytes[..<n])
    }

    private func reason(_ body: () throws -> Void) -> FileError.Reason? {
        do {
            try body()
            return nil
        } catch {
            return (error as? FileError)?.reason
        }
    }

    // MARK: Bytes

    @Test func `what is written at a place is read there`() throws {
        try Machine.withDirectory { directory in
            let file = try files.open(directory + "/f", .create)
            #expect(try file.size() == 0)
            #expect(try read(10, of: file, at: 0).isEmpty)
            let data = bytes(10_000)
            try write(data, to: file, at: 100)
            #expect(try file.size() == 10_100)
            #expect(try read(100, of: file, at: 0) == [UInt8](repeating: 0, count: 100))
            #expect(try read(50, of: file, at: 5_000) == Array(data[4_900..<4_950]))
            #expect(try read(500, of: file, at: 10_000) == Array(data[9_900...]))
            #expect(try read(5, of: file, at: 20_000).isEmpty)
            try write([1, 2, 3], to: file, at: 101)
            #expect(try read(5, of: file, at: 100) == [data[0], 1, 2, 3, data[4]])
            try file.sync()
        }
    }

    @Test func `a gathered write puts all pieces behind one another, however many`() throws {
        try Machine.withDirectory { directory in
            let file = try files.open(directory + "/f", .create)
            let pieces = (0..<1_500).map { bytes($0 % 7, seed: UInt64($0)) }
            let blocks = pieces.map { ByteSlice($0) }
            let buffers = blocks.map { UnsafeRawBufferPointer(start: $0.start, count: $0.count) }
            try withExtendedLifetime(blocks) { try file.write(gathering: buffers, at: 3) }
            let whole = pieces.flatMap { $0 }
            #expect(try file.size() == whole.count + 3)
            #expect(try read(whole.count, of: file, at: 3) == whole)
            try file.write(gathering: [], at: 0)
        }
    }

    @Test func `a file is cut and made longer`() throws {
        try Machine.withDirectory { directory in
            let file = try files.open(directory + "/f", .create)
            try write([1, 2, 3, 4], to: file, at: 0)
            try file.truncate(to: 2)
            #expect(try read(10, of: file, at: 0) == [1, 2])
            try file.truncate(to: 5)
            #expect(try read(10, of: file, at: 0) == [1, 2, 0, 0, 0])
        }
    }

    @Test func `space allocated in advance reads as zeros and does not touch what is there`() throws
    {
        try Machine.withDirectory { directory in
            let file = try files.open(directory + "/f", .create)
            try write([1, 2, 3], to: file, at: 0)
            try file.allocate(100_000, at: 2)
            #expect(try file.size() == 100_002)
            #expect(try read(5, of: file, at: 0) == [1, 2, 3, 0, 0])
            #expect(try read(10, of: file, at: 99_999) == [0, 0, 0])
            var status = stat()
            #expect(stat(directory + "/f", &status) == 0)
            #expect(Int(status.st_blocks) * 512 >= 100_002)
        }
    }

    @Test func `aligned access past the page cache sees the same bytes`() throws {
        try Machine.withDirectory { directory in
            let size = 4 * FileSystem.directAlignment
            let data = bytes(size)
            let buffer = UnsafeMutableRawBufferPointer.allocate(
                byteCount: size,
                alignment: FileSystem.directAlignment
            )
            defer { buffer.deallocate() }
            buffer.copyBytes(from: data)
            let file = try files.open(directory + "/f", .create, direct: true)
            try file.write(UnsafeRawBufferPointer(buffer), at: 0)
            let buffered = try files.open(directory + "/f", .read)
            #expect(try read(size, of: buffered, at: 0) == data)
            _ = buffer.initializeMemory(as: UInt8.self, repeating: 0)
            #expect(try file.read(into: buffer, at: 0) == size)
            #expect(Array(buffer) == data)
        }
    }

    // MARK: Names

    @Test func `modes decide what becomes of a file that is there, or not`() throws {
        try Machine.withDirectory { directory in
            let path = directory + "/f"
            #expect(reason { _ = try files.open(path, .read) } == .notFound)
            #expect(reason { _ = try files.open(path, .readWrite) } == .notFound)
            #expect(!files.exists(path))
            try write([1, 2], to: files.open(path, .create), at: 0)
            #expect(try files.open(path, .create).size() == 2)
            #expect(try files.open(path, .readWrite).size() == 2)
            #expect(try files.open(path, .replace).size() == 0)
            #expect(files.exists(path))
        }
    }

    @Test func `a directory lists its names, sorted`() throws {
        try Machine.withDirectory { directory in
            #expect(try files.list(directory) == [])
            for name in ["b", "a", "é", "10", "9", ".hidden"] {
                _ = try files.open(directory + "/" + name, .create)
            }
            try files.createDirectory(directory + "/c/d")
            #expect(try files.list(directory) == [".hidden", "10", "9", "a", "b", "c", "é"])
            #expect(try files.list(directory + "/c") == ["d"])
            #expect(reason { _ = try files.list(directory + "/x") } == .notFound)
            #expect(reason { _ = try files.list(directory + "/a") } == .other(errno: ENOTDIR))
        }
    }

    @Test func `directories are made with those above them, and again without harm`() throws {
        try Machine.withDirectory { directory in
            for _ in 0..<2 { try files.createDirectory(directory + "/x/y/z") }
            #expect(files.exists(directory + "/x/y/z"))
            try files.syncDirectory(directory + "/x")
            _ = try files.open(directory + "/file", .create)
            #expect(reason { try files.createDirectory(directory + "/file/x") } != nil)
        }
    }

    @Test func `a rename replaces`() throws {
        try Machine.withDirectory { directory in
            try write([1], to: files.open(directory + "/a", .create), at: 0)
            try write([2, 2], to: files.open(directory + "/b", .create), at: 0)
            try files.rename(directory + "/a", to: directory + "/b")
            #expect(try files.list(directory) == ["b"])
            #expect(try files.readAll(directory + "/b", limit: 10).array == [1])
            #expect(
                reason { try files.rename(directory + "/a", to: directory + "/c") } == .notFound
            )
        }
    }

    @Test func `files and trees are removed`() throws {
        try Machine.withDirectory { directory in
            try files.createDirectory(directory + "/x/y")
            _ = try files.open(directory + "/x/y/f", .create)
            #expect(reason { try files.remove(directory + "/x") } != nil)
            try files.removeTree(directory + "/x")
            #expect(!files.exists(directory + "/x"))
            try files.removeTree(directory + "/x")
            #expect(reason { try files.remove(directory + "/x") } == .notFound)
        }
    }

    @Test func `a file is open until nobody holds it, even removed`() throws {
        try Machine.withDirectory { directory in
            let file = try files.open(directory + "/f", .create)
            try write([7], to: file, at: 0)
            try files.remove(directory + "/f")
            #expect(try read(1, of: file, at: 0) == [7])
        }
    }

    @Test func `a small file is replaced whole, and read whole up to a limit`() throws {
        try Machine.withDirectory { directory in
            let path = directory + "/f"
            try files.replaceAtomically(path, with: ByteSlice("one"))
            try files.replaceAtomically(path, with: ByteSlice("three"))
            #expect(try files.readAll(path, limit: 5) == ByteSlice("three"))
            #expect(reason { _ = try files.readAll(path, limit: 4) } == .tooLarge)
            #expect(try files.list(directory) == ["f"])
            try files.replaceAtomically(path, with: ByteSlice())
            #expect(try files.readAll(path, limit: 0).isEmpty)
        }
    }

    @Test func `a lock is held until it is let go`() throws {
        try Machine.withDirectory { directory in
            var lock: AnyObject? = try files.lock(directory + "/lock")
            #expect(reason { _ = try files.lock(directory + "/lock") } == .locked)
            withExtendedLifetime(lock) {}
            lock = nil
            #expect(reason { _ = try files.lock(directory + "/lock") } == nil)
        }
    }

    // MARK: Errors

    @Test func `a full device is told from a broken one`() throws {
        let full = try files.open("/dev/full", .readWrite)
        #expect(reason { try write([1], to: full, at: 0) } == .noSpace)
        #expect(reason { try full.write(gathering: [], at: 0) } == nil)
        let buffer = ByteSlice("x")
        let gathered = [UnsafeRawBufferPointer(start: buffer.start, count: 1)]
        #expect(reason { try full.write(gathering: gathered, at: 0) } == .noSpace)
        withExtendedLifetime(buffer) {}
    }

    @Test(arguments: [
        (ENOENT, FileError.Reason.notFound), (ENOSPC, .noSpace), (EDQUOT, .noSpace),
        (EFBIG, .noSpace), (EEXIST, .alreadyExists), (EAGAIN, .locked), (EIO, .inputOutput),
        (EACCES, .other(errno: EACCES)),
    ])
    func `the system's errors have reasons, and say what failed where`(
        _ code: Int32,
        _ reason: FileError.Reason
    ) {
        let error = FileError(errno: code, operation: "write", path: "/x/y")
        #expect(error.reason == reason)
        #expect("\(error)".hasPrefix("write /x/y: "))
        #expect("\(error)".count > "write /x/y: ".count)
    }

    @Test func `a file that was opened to be read cannot be written`() throws {
        try Machine.withDirectory { directory in
            _ = try files.open(directory + "/f", .create)
            let file = try files.open(directory + "/f", .read)
            #expect(reason { try write([1], to: file, at: 0) } == .other(errno: EBADF))
        }
    }

    @Test func `there is room on a disk that is there`() throws {
        #expect(try files.availableBytes("/var/tmp") > 0)
        #expect(reason { _ = try files.availableBytes("/no/such/place") } == .notFound)
    }

    @Test(arguments: [("/a/b", "/a"), ("/a", "/"), ("a/b", "a"), ("a", "."), ("/", "/")])
    func `every path has a parent`(_ path: String, _ parent: String) {
        #expect(FileSystem.parent(of: path) == parent)
    }
}
