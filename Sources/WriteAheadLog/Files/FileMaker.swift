internal import Bytes
internal import Platform

/// Brings files into the log: new ones filled with zeros, and old ones under a new sequence.
///
/// Each step is durable before the next begins, so a crash leaves a file under its old name or
/// whole under its new one:
/// 1. a new file grows under a name of its own; an old one has been given a `.free` name
/// 2. missing bytes are written as zeros, then the header, then fdatasync
/// 3. rename to `<sequence>.wal`, then sync the directory
struct FileMaker: Sendable {
    let files: FileSystem
    let directory: String

    func path(_ name: String) -> String { directory + "/" + name }

    /// A new file of `size` bytes, or the free file `recycled` brought to that size; what that has
    /// beyond it is kept up to `limit`.
    func make(
        sequence: UInt64,
        salt: UInt64,
        size: Int,
        atMost limit: Int,
        recycling recycled: String? = nil
    ) throws(FileError) -> WALFile {
        let name = recycled ?? FileName.new(sequence)
        let file = try files.open(
            path(name),
            recycled == nil ? .replace : .readWrite,
            direct: true
        )
        do {
            let existing = WALBlock.roundedDown(try file.size())
            let size = max(size, min(existing, limit))
            if existing > size { try file.truncate(to: size) }
            try ZeroFill.run(file, from: existing, to: size)
            let header = try begin(file, sequence: sequence, salt: salt)
            let final = path(FileName.log(sequence))
            try files.rename(path(name), to: final)
            try files.syncDirectory(directory)
            return WALFile(file, header: header, capacity: size)
        } catch {
            // What was taken from a disk that is full is given back.
            if recycled == nil { try? files.remove(path(name)) }
            throw error
        }
    }

    private func begin(
        _ file: File,
        sequence: UInt64,
        salt: UInt64
    ) throws(FileError) -> FileHeader {
        let block = AlignedBlock.zeroed(WALBlock.size)
        let header = FileHeader.encode(sequence: sequence, salt: salt, into: block.start)
        try file.write(UnsafeRawBufferPointer(start: block.start, count: block.capacity), at: 0)
        try file.sync()
        return header
    }

    /// Takes a file out of the log for good, and what it has beyond `limit` from it.
    func setFree(_ file: WALFile, atMost limit: Int) throws(FileError) -> String {
        let name = FileName.free(file.sequence)
        try files.rename(path(FileName.log(file.sequence)), to: path(name))
        try files.syncDirectory(directory)
        // What cannot be cut now is when it is recycled.
        if file.capacity > limit { try? file.file.truncate(to: limit) }
        return name
    }
}
