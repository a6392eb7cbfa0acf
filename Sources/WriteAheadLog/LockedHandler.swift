/// A closure behind a lock.
///
/// Bare, it would be wrapped once more with every access, and every call go through all the wraps.
struct LockedHandler<Body: Sendable>: Sendable {
    var call: Body?
}
