internal import Bytes
internal import Glibc
package import Platform

/// A disk in memory, which keeps through a power cut what was synced and any part of the rest.
///
/// | call | survives a power cut once |
/// |---|---|
/// | write, truncate, allocate | the file was synced |
/// | a name made, renamed or removed | its directory was synced |
///
/// What no sync covered survives in any part: sectors by themselves, names by themselves.
package final class SimulatedFileSystem: FileSystem, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    package enum Operation: String, Sendable {
        case open, read, write, sync, truncate, allocate
        case createDirectory = "make directory"
        case remove, rename, link
        case syncDirectory = "sync directory"
    }

    /// How the disk may break its word; for checks of the checks.
    package struct Lies: Sendable {
        package var aboutSync = false
        package var aboutDirectorySync = false

        package init() {}
    }

    package let sectorBytes: Int
    package var lies = Lies()
    /// Bytes all files together may have.
    package var capacity = Int.max
    /// The power fails in the middle of this change, counted from now as 1.
    package var changesUntilPowerCut = Int.max
    /// The process is killed right after this change, counted from now as 1; the machine goes on.
    package var changesUntilKill = Int.max
    /// Asked before each operation whether it shall fail.
    package var failure: ((Operation, _ path: String) -> FileError.Reason?)?
    /// Shortens what a read of so many bytes gets.
    package var shortRead: ((_ path: String, _ offset: Int, _ count: Int) -> Int)?
    package private(set) var isOn = true
    package private(set) var syncs = 0
    /// Direct reads and writes refused because they were not aligned.
    package private(set) var misaligned = 0
    /// Ends the process that runs.
    var onEnd: (() -> Void)?
    /// False from the end of one process to the start of the next.
    private var hasProcess = true
    private let simulation: Simulation
    private var generator: SeededGenerator
    private var tree = DirectoryTree()
    private var locks: Set<String> = []
    /// Counts processes: the handles and locks of earlier ones are void.
    fileprivate private(set) var processes = 0

    package init(_ simulation: Simulation, sectorBytes: Int = 512) {
        precondition(sectorBytes == 512 || sectorBytes == 4096, "sectors of \(sectorBytes) bytes")
        self.simulation = simulation
        self.sectorBytes = sectorBytes
        generator = simulation.makeGenerator()
    }

    // MARK: Power

    /// The machine stops now; nothing works until ``powerOn()``.
    package func cutPower() {
        guard isOn else { return }
        isOn = false
        simulation.note(0xdead)
        onEnd?()
    }

    /// The machine comes back with what was durable and some of what was not.
    package func powerOn() {
        cutPower()
        let keepsNothing = generator.chance(1, in: 3)
        // Files are settled with the names they had; a name that did not survive takes its with it.
        for (_, image) in tree.files {
            image.losePower(&generator, sector: sectorBytes, keepsNothing: keepsNothing)
        }
        tree.losePower(&generator, keepsNothing: keepsNothing)
        // Names from before the cut may come back to files that had none any more.
        for (_, image) in tree.files {
            image.losePower(&generator, sector: sectorBytes, keepsNothing: keepsNothing)
        }
        changesUntilPowerCut = .max
        isOn = true
    }

    /// The process is gone: what it held is free, what it wrote is as it left it.
    func processEnded() {
        processes += 1
        hasProcess = false
        changesUntilKill = .max
        locks = []
    }

    func processStarted(_ onEnd: @escaping () -> Void) {
        hasProcess = true
        self.onEnd = onEnd
    }

    // MARK: Looking and damaging

    package var paths: [String] { tree.files.map(\.path) }

    package var usedBytes: Int { tree.files.reduce(0) { $0 + $1.image.count } }

    package func contents(_ path: String) -> [UInt8] { tree.file(path)?.bytes ?? [] }

    /// Another disk, with nothing on it, takes the place of this one; no process may use it.
    package func replace() {
        precondition(!hasProcess, "a disk is replaced under a process")
        tree = DirectoryTree()
        capacity = .max
        isOn = true
    }

    /// Whether a power cut now would leave a file with these bytes, whatever else it loses.
    package func durablyHolds(_ needle: [UInt8], inFilesEndingWith endings: [String]) -> Bool {
        // Most often it was written a moment ago.
        [true, false].contains { isRecent in
            tree.hasDurableFile { name, image in
                endings.contains(where: name.hasSuffix)
                    && image.durablyHolds(needle, isRecent: isRecent)
            }
        }
    }

    /// Changes a file on the disk, as no write did.
    package func damage(_ path: String, _ body: (inout [UInt8]) -> Void) {
        tree.file(path)?.damage(body)
    }

    // MARK: Each operation

    /// Charges time, and throws when the power is off or fails, or a fault was planted.
    ///
    /// - Returns: Whether the power fails in the middle of the operation.
    fileprivate func begin(
        _ operation: Operation,
        _ path: String,
        bytes: Int = 0,
        process: Int? = nil
    ) throws(FileError) -> Bool {
        try checkLife(operation, path, process)
        charge(operation, bytes)
        if let reason = failure?(operation, path) { throw error(reason, operation, path) }
        // Who was asked for a fault may have ended the process instead.
        try checkLife(operation, path, process)
        guard operation != .read else { return false }
        if changesUntilPowerCut != .max { changesUntilPowerCut -= 1 }
        if changesUntilKill != .max { changesUntilKill -= 1 }
        return changesUntilPowerCut <= 0
    }

    private func checkLife(
        _ operation: Operation,
        _ path: String,
        _ process: Int?
    ) throws(FileError) {
        guard isOn, hasProcess, process ?? processes == processes else {
            throw error(.powerCut, operation, path)
        }
    }

    /// The power fails now if it was to fail in this operation.
    fileprivate func end(_ isCut: Bool, _ operation: Operation, _ path: String) throws(FileError) {
        if changesUntilKill <= 0 {
            // What was done is done; the process does not see it.
            onEnd?()
            return
        }
        guard isCut else { return }
        cutPower()
        throw error(.powerCut, operation, path)
    }

    fileprivate func error(
        _ reason: FileError.Reason,
        _ operation: Operation,
        _ path: String
    ) -> FileError {
        FileError(reason, operation: operation.rawValue, path: path)
    }

    private func charge(_ operation: Operation, _ bytes: Int) {
        let base: Int64 =
            switch operation {
            case .sync, .syncDirectory:
                generator.chance(1, in: 50)
                    ? .milliseconds(Int64(5 + generator.below(60)))
                    : .microseconds(Int64(50 + generator.below(900)))
            default: .microseconds(Int64(1 + generator.below(20)))
            }
        simulation.spend(base + Int64(bytes))
    }

    fileprivate func checkRoom(
        _ extra: Int,
        _ operation: Operation,
        _ path: String
    ) throws(FileError) {
        guard extra > 0, capacity != .max else { return }
        guard usedBytes + extra <= capacity else { throw error(.noSpace, operation, path) }
    }

    fileprivate func checkAlignment(
        _ buffer: UnsafeRawBufferPointer,
        _ offset: Int,
        _ operation: Operation,
        _ path: String
    ) throws(FileError) {
        let alignment = Self.directAlignment
        let address = UInt(bitPattern: buffer.baseAddress)
        guard offset % alignment == 0, buffer.count % alignment == 0,
            address % UInt(alignment) == 0
        else {
            misaligned += 1
            throw error(.other(errno: EINVAL), operation, path)
        }
    }

    fileprivate func sync(_ image: FileImage, _ path: String) throws(FileError) {
        syncs += 1
        let isCut: Bool
        do {
            isCut = try begin(.sync, path)
        } catch {
            if error.reason != .powerCut { image.failSync(&generator, sector: sectorBytes) }
            throw error
        }
        try end(isCut, .sync, path)
        if !lies.aboutSync { image.sync() }
    }

    fileprivate func note(_ operation: UInt64, _ offset: Int, _ buffer: UnsafeRawBufferPointer) {
        simulation.note(operation, offset, Int(CRC32C.checksum(buffer)))
    }

    // MARK: Names

    package override func open(
        _ path: String,
        _ mode: Mode,
        direct: Bool
    ) throws(FileError) -> File {
        guard isOn else { throw error(.powerCut, .open, path) }
        let image: FileImage
        switch (tree.entry(path), mode) {
        case (.directory, _): throw error(.other(errno: EISDIR), .open, path)
        case (.file(let found), .replace):
            let isCut = try begin(.open, path)
            if found.count > 0 { found.resize(to: 0) }
            try end(isCut, .open, path)
            image = found
        case (.file(let found), _):
            if let reason = failure?(.open, path) { throw error(reason, .open, path) }
            image = found
        case (nil, .create), (nil, .replace):
            guard tree.names(in: DirectoryTree.split(path).directory) != nil else {
                throw error(.notFound, .open, path)
            }
            let isCut = try begin(.open, path)
            image = FileImage()
            tree.link(path, .file(image))
            try end(isCut, .open, path)
        case (nil, _): throw error(.notFound, .open, path)
        }
        return SimulatedFile(path, image, on: self, isDirect: direct)
    }

    package override func list(_ directory: String) throws(FileError) -> [String] {
        guard isOn else { throw error(.powerCut, .read, directory) }
        guard let names = tree.names(in: directory) else {
            throw error(.notFound, .read, directory)
        }
        return names
    }

    package override func exists(_ path: String) -> Bool { isOn && tree.entry(path) != nil }

    package override func createDirectory(_ path: String) throws(FileError) {
        if path.isEmpty || path == "/" || exists(path) { return }
        let parent = Self.parent(of: path)
        try createDirectory(parent)
        let isCut = try begin(.createDirectory, path)
        tree.link(path, .directory)
        try end(isCut, .createDirectory, path)
        try syncDirectory(parent)
    }

    package override func remove(_ path: String) throws(FileError) {
        guard isOn else { throw error(.powerCut, .remove, path) }
        guard let entry = tree.entry(path) else { throw error(.notFound, .remove, path) }
        if case .directory = entry, tree.names(in: path)?.isEmpty == false {
            throw error(.other(errno: ENOTEMPTY), .remove, path)
        }
        let isCut = try begin(.remove, path)
        tree.unlink(path)
        try end(isCut, .remove, path)
    }

    package override func rename(_ from: String, to: String) throws(FileError) {
        guard tree.entry(from) != nil else { throw error(.notFound, .rename, from) }
        let isCut = try begin(.rename, from)
        tree.rename(from, to: to)
        try end(isCut, .rename, from)
    }

    package override func link(_ from: String, to: String) throws(FileError) {
        guard let entry = tree.entry(from) else { throw error(.notFound, .link, from) }
        guard tree.entry(to) == nil else { throw error(.other(errno: EEXIST), .link, to) }
        let isCut = try begin(.link, from)
        tree.link(to, entry)
        try end(isCut, .link, from)
    }

    package override func syncDirectory(_ path: String) throws(FileError) {
        let isCut = try begin(.syncDirectory, path)
        try end(isCut, .syncDirectory, path)
        if !lies.aboutDirectorySync { tree.sync(path) }
    }

    package override func availableBytes(_ path: String) throws(FileError) -> Int {
        guard isOn else { throw error(.powerCut, .read, path) }
        return capacity == .max ? 1 << 40 : max(0, capacity - usedBytes)
    }

    package override func lock(_ path: String) throws(FileError) -> AnyObject {
        guard isOn else { throw error(.powerCut, .open, path) }
        guard locks.insert(path).inserted else { throw error(.locked, .open, path) }
        let process = processes
        return HeldPath { [weak self] in
            guard let self, processes == process else { return }
            locks.remove(path)
        }
    }
}

/// Gives a lock back when nobody holds it any more.
private final class HeldPath {
    private let release: () -> Void
    init(_ release: @escaping () -> Void) { self.release = release }
    deinit { release() }
}

/// An open file of a ``SimulatedFileSystem``, void once its process has ended.
private final class SimulatedFile: File, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let image: FileImage
    private let system: SimulatedFileSystem
    private let process: Int
    private let isDirect: Bool

    init(_ path: String, _ image: FileImage, on system: SimulatedFileSystem, isDirect: Bool) {
        self.image = image
        self.system = system
        self.isDirect = isDirect
        process = system.processes
        super.init(path: path)
    }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError) -> Int {
        _ = try system.begin(.read, path, bytes: buffer.count, process: process)
        if isDirect {
            try system.checkAlignment(UnsafeRawBufferPointer(buffer), offset, .read, path)
        }
        var count = max(0, min(buffer.count, image.count - offset))
        if let shorten = system.shortRead { count = min(count, shorten(path, offset, count)) }
        guard count > 0 else { return 0 }
        image.bytes.withUnsafeBytes {
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + count]))
        }
        return count
    }

    override func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        let isCut = try system.begin(.write, path, bytes: bytes.count, process: process)
        if isDirect { try system.checkAlignment(bytes, offset, .write, path) }
        try system.checkRoom(offset + bytes.count - image.count, .write, path)
        system.note(1, offset, bytes)
        image.write(bytes, at: offset)
        try system.end(isCut, .write, path)
    }

    override func sync() throws(FileError) {
        guard process == system.processes else {
            throw system.error(.powerCut, .sync, path)
        }
        try system.sync(image, path)
    }

    override func size() throws(FileError) -> Int {
        guard system.isOn, process == system.processes else {
            throw system.error(.powerCut, .read, path)
        }
        return image.count
    }

    override func truncate(to size: Int) throws(FileError) {
        let isCut = try system.begin(.truncate, path, process: process)
        try system.checkRoom(size - image.count, .truncate, path)
        image.resize(to: size)
        try system.end(isCut, .truncate, path)
    }

    override func allocate(_ length: Int, at offset: Int) throws(FileError) {
        let isCut = try system.begin(.allocate, path, process: process)
        try system.checkRoom(offset + length - image.count, .allocate, path)
        if offset + length > image.count { image.resize(to: offset + length) }
        try system.end(isCut, .allocate, path)
    }
}
