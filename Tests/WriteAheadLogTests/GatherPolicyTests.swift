import Testing

@testable import WriteAheadLog

@Suite struct GatherPolicyTests {
    private func policy() -> GatherPolicy {
        GatherPolicy(maxWaitNanoseconds: 500, enoughBytes: 10_000)
    }

    @Test func `the first request does not wait`() {
        var policy = policy()
        #expect(policy.decide(records: 1, bytes: 100, now: 0) == .write)
    }

    @Test func `after groups of one nobody waits`() {
        var policy = policy()
        for now in Int64(0)..<20 {
            #expect(policy.decide(records: 1, bytes: 100, now: now) == .write)
            policy.committed(records: 1, pending: 0, now: now)
        }
    }

    @Test func `after a large group three quarters of it are waited for`() {
        var policy = policy()
        policy.committed(records: 64, pending: 0, now: 0)
        #expect(policy.decide(records: 10, bytes: 100, now: 10) == .wait(nanoseconds: 500))
        #expect(!policy.isEnough(records: 47, bytes: 9_999))
        #expect(policy.isEnough(records: 48, bytes: 100))
        #expect(policy.isEnough(records: 5, bytes: 10_000))
    }

    @Test func `a timeout drops the expectation to what was there`() {
        var policy = policy()
        policy.committed(records: 64, pending: 0, now: 0)
        policy.timedOut(records: 20)
        policy.committed(records: 20, pending: 0, now: 500)
        #expect(policy.expected == 20)
        policy.timedOut(records: 2)
        #expect(policy.decide(records: 1, bytes: 10, now: 600) == .write)
    }

    @Test func `after a pause nobody waits`() {
        var policy = policy()
        policy.committed(records: 64, pending: 0, now: 0)
        #expect(policy.decide(records: 1, bytes: 10, now: 2_001) == .write)
    }

    @Test func `what came while a group was written is expected as well`() {
        var policy = policy()
        policy.committed(records: 20, pending: 12, now: 0)
        #expect(policy.expected == 32)
        #expect(policy.decide(records: 23, bytes: 10, now: 1) == .wait(nanoseconds: 500))
        #expect(policy.decide(records: 24, bytes: 10, now: 1) == .write)
    }

    @Test func `groups that gathered in time keep the expectation`() {
        var policy = policy()
        policy.committed(records: 64, pending: 0, now: 0)
        policy.committed(records: 48, pending: 0, now: 10)
        #expect(policy.expected == 64)
    }
}
