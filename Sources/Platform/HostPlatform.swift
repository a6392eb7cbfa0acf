/// Everything a node touches outside its own memory: clock, files, network (on its loops), threads
/// and randomness.
///
/// Two implementations: ``RealPlatform`` and the simulator's. The code that ships runs unchanged
/// on either.
public protocol HostPlatform: Sendable {
    var clock: any Clock { get }
    var files: FileSystem { get }
    /// The event loops, fixed for the platform's life.
    var loops: [EventLoop] { get }
    func makeWorker(name: String) -> Worker
    /// A generator seeded from the platform's source of randomness.
    func makeGenerator() -> SeededGenerator
}
