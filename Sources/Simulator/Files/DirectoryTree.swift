internal import Platform

/// The names of a simulated disk: those a process sees, and those a power cut leaves.
struct DirectoryTree {
    enum Entry {
        case file(FileImage)
        case directory
    }

    private enum Step {
        case link(String, Entry)
        case unlink(String)
    }

    /// What one call did to names of one directory; it survives whole or not at all.
    private struct Change {
        let directory: String
        let steps: [Step]
    }

    private typealias Names = [String: [String: Entry]]

    private var current: Names = ["/": [:]]
    private var durable: Names = ["/": [:]]
    private var unsynced: [Change] = []

    // MARK: Looking

    static func split(_ path: String) -> (directory: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return ("/", path) }
        let directory = slash == path.startIndex ? "/" : String(path[..<slash])
        return (directory, String(path[path.index(after: slash)...]))
    }

    func entry(_ path: String) -> Entry? {
        if path == "/" { return .directory }
        let (directory, name) = Self.split(path)
        return current[directory]?[name]
    }

    func file(_ path: String) -> FileImage? {
        if case .file(let image) = entry(path) { image } else { nil }
    }

    func names(in directory: String) -> [String]? { current[directory]?.keys.sorted() }

    /// Every file with its path, by path.
    var files: [(path: String, image: FileImage)] {
        var found: [(path: String, image: FileImage)] = []
        for directory in current.keys.sorted() {
            for (name, entry) in (current[directory] ?? [:]).sorted(by: { $0.key < $1.key }) {
                guard case .file(let image) = entry else { continue }
                found.append((directory == "/" ? "/" + name : directory + "/" + name, image))
            }
        }
        return found
    }

    /// The files that a power cut leaves in any case, with their names, in no order.
    func hasDurableFile(_ isMeant: (_ name: String, _ image: FileImage) -> Bool) -> Bool {
        durable.values.contains { names in
            names.contains { name, entry in
                guard case .file(let image) = entry else { return false }
                return isMeant(name, image)
            }
        }
    }

    // MARK: Changing

    mutating func link(_ path: String, _ entry: Entry) {
        let (directory, name) = Self.split(path)
        change(Change(directory: directory, steps: [.link(name, entry)]))
    }

    mutating func unlink(_ path: String) {
        let (directory, name) = Self.split(path)
        change(Change(directory: directory, steps: [.unlink(name)]))
    }

    mutating func rename(_ from: String, to: String) {
        guard let entry = entry(from) else { return }
        let (source, target) = (Self.split(from), Self.split(to))
        precondition(
            source.directory == target.directory,
            "a rename from \(from) to \(to): directories of their own are not simulated"
        )
        change(
            Change(
                directory: source.directory,
                steps: [.unlink(source.name), .link(target.name, entry)]
            )
        )
    }

    private mutating func change(_ change: Change) {
        Self.apply(change, to: &current)
        unsynced.append(change)
    }

    private static func apply(_ change: Change, to names: inout Names) {
        for step in change.steps {
            switch step {
            case .link(let name, let entry):
                names[change.directory, default: [:]][name] = entry
                if case .directory = entry {
                    let path =
                        change.directory == "/" ? "/" + name : change.directory + "/" + name
                    if names[path] == nil { names[path] = [:] }
                }
            case .unlink(let name):
                if case .directory = names[change.directory]?[name] {
                    names[change.directory == "/" ? "/" + name : change.directory + "/" + name] =
                        nil
                }
                names[change.directory]?[name] = nil
            }
        }
    }

    // MARK: Durability

    mutating func sync(_ directory: String) {
        for change in unsynced where change.directory == directory {
            Self.apply(change, to: &durable)
        }
        unsynced.removeAll { $0.directory == directory }
    }

    /// Keeps the durable names, and none, some or all of the others.
    mutating func losePower(_ generator: inout SeededGenerator, keepsNothing: Bool) {
        let mode = keepsNothing ? 0 : 1 + generator.below(3)
        let prefix = generator.below(unsynced.count + 1)
        for (index, change) in unsynced.enumerated() {
            let survives =
                switch mode {
                case 0: false
                case 1: index < prefix
                case 2: generator.chance(1, in: 2)
                default: true
                }
            if survives && durable[change.directory] != nil { Self.apply(change, to: &durable) }
        }
        unsynced = []
        // What lies below a directory that did not survive is gone with it.
        var reachable: Names = [:]
        var waiting = ["/"]
        while let directory = waiting.popLast() {
            reachable[directory] = durable[directory] ?? [:]
            for (name, entry) in durable[directory] ?? [:] {
                guard case .directory = entry else { continue }
                waiting.append(directory == "/" ? "/" + name : directory + "/" + name)
            }
        }
        durable = reachable
        current = reachable
    }
}
