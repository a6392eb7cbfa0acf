import CLinux
import Glibc

/// The kernel's file system.
final class RealFileSystem: FileSystem, @unchecked Sendable {
    // Unchecked: stateless.
    override func open(_ path: String, _ mode: Mode, direct: Bool) throws(FileError) -> File {
        let flags: Int32 =
            switch mode {
            case .read: O_RDONLY
            case .readWrite: O_RDWR
            case .create: O_RDWR | O_CREAT
            case .replace: O_RDWR | O_CREAT | O_TRUNC
            }
        if direct {
            let descriptor = clinux_open(path, flags | clinux_o_direct(), 0o644)
            if descriptor >= 0 { return RealFile(path: path, descriptor: descriptor) }
            guard errno == EINVAL else {
                throw FileError(errno: errno, operation: "open", path: path)
            }
        }
        let descriptor = clinux_open(path, flags, 0o644)
        guard descriptor >= 0 else { throw FileError(errno: errno, operation: "open", path: path) }
        return RealFile(path: path, descriptor: descriptor)
    }

    override func list(_ directory: String) throws(FileError) -> [String] {
        guard let stream = opendir(directory) else {
            throw FileError(errno: errno, operation: "list", path: directory)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    override func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    override func createDirectory(_ path: String) throws(FileError) {
        if path.isEmpty || path == "/" || path == "." || exists(path) { return }
        let parent = Self.parent(of: path)
        try createDirectory(parent)
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
            throw FileError(errno: errno, operation: "make directory", path: path)
        }
        try syncDirectory(parent)
    }

    override func remove(_ path: String) throws(FileError) {
        guard Glibc.remove(path) == 0 else {
            throw FileError(errno: errno, operation: "remove", path: path)
        }
    }

    override func rename(_ from: String, to: String) throws(FileError) {
        guard Glibc.rename(from, to) == 0 else {
            throw FileError(errno: errno, operation: "rename", path: from)
        }
    }

    override func link(_ from: String, to: String) throws(FileError) {
        guard Glibc.link(from, to) == 0 else {
            throw FileError(errno: errno, operation: "link", path: from)
        }
    }

    override func syncDirectory(_ path: String) throws(FileError) {
        let descriptor = clinux_open(path, O_RDONLY | O_DIRECTORY, 0)
        guard descriptor >= 0 else { throw FileError(errno: errno, operation: "open", path: path) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw FileError(errno: errno, operation: "sync directory", path: path)
        }
    }

    override func availableBytes(_ path: String) throws(FileError) -> Int {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else {
            throw FileError(errno: errno, operation: "statvfs", path: path)
        }
        return Int(status.f_bavail) * Int(status.f_frsize)
    }

    override func lock(_ path: String) throws(FileError) -> AnyObject {
        let descriptor = clinux_open(path, O_RDWR | O_CREAT, 0o644)
        guard descriptor >= 0 else { throw FileError(errno: errno, operation: "open", path: path) }
        let held = RealFile(path: path, descriptor: descriptor)
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw FileError(errno: errno, operation: "lock", path: path)
        }
        return held
    }
}

/// An open descriptor, closed when nobody holds the file any more.
final class RealFile: File, @unchecked Sendable {
    // Unchecked: positional system calls on an immutable descriptor.
    private let handle: Int32

    init(path: String, descriptor: Int32) {
        handle = descriptor
        super.init(path: path)
    }

    deinit { close(handle) }

    override var descriptor: Int32? { handle }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError)
        -> Int
    {
        var done = 0
        while done < buffer.count, let start = buffer.baseAddress {
            let n = pread(handle, start + done, buffer.count - done, offset + done)
            if n == 0 { break }
            if n > 0 {
                done += n
            } else if errno != EINTR {
                throw failure("read")
            }
        }
        return done
    }

    override func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        var done = 0
        while done < bytes.count, let start = bytes.baseAddress {
            let n = pwrite(handle, start + done, bytes.count - done, offset + done)
            if n > 0 {
                done += n
            } else if n == 0 || errno != EINTR {
                throw failure("write")
            }
        }
    }

    override func write(
        gathering buffers: [UnsafeRawBufferPointer],
        at offset: Int
    ) throws(FileError) {
        var at = offset
        var next = 0
        while next < buffers.count {
            let group = buffers[next..<min(next + 512, buffers.count)]
            var vectors = group.map {
                iovec(
                    iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress),
                    iov_len: $0.count
                )
            }
            let wanted = group.reduce(0) { $0 + $1.count }
            let n = pwritev(handle, &vectors, Int32(vectors.count), at)
            if n < 0 {
                guard errno == EINTR else { throw failure("write") }
                continue
            }
            if n == wanted {
                at += n
                next += group.count
                continue
            }
            // A short write: finish the group piece by piece.
            var skip = n
            for buffer in group {
                let rest = UnsafeRawBufferPointer(
                    rebasing: buffer.dropFirst(min(skip, buffer.count))
                )
                let done = buffer.count - rest.count
                try write(rest, at: at + done)
                skip -= done
                at += buffer.count
            }
            next += group.count
        }
    }

    override func sync() throws(FileError) {
        // Never retried: after an error the kernel may have dropped the dirty pages.
        guard fdatasync(handle) == 0 else { throw failure("fdatasync") }
    }

    override func size() throws(FileError) -> Int {
        var status = stat()
        guard fstat(handle, &status) == 0 else { throw failure("stat") }
        return Int(status.st_size)
    }

    override func truncate(to size: Int) throws(FileError) {
        guard ftruncate(handle, size) == 0 else { throw failure("truncate") }
    }

    override func allocate(_ length: Int, at offset: Int) throws(FileError) {
        guard clinux_fallocate_keep_nothing(handle, offset, length) == 0 else {
            throw failure("allocate")
        }
    }

    private func failure(_ operation: String) -> FileError {
        FileError(errno: errno, operation: operation, path: path)
    }
}
