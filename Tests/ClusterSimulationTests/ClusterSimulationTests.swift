import Platform
import Testing

@testable import ClusterSimulation

/// Whole clusters under faults: a few of the runs that `chronik-sim cluster` plays by the thousand.
///
/// One after the other, because each keeps a processor busy.
@Suite(.serialized) struct ClusterSimulationTests {
    private static func play(_ plan: ClusterPlan) -> ClusterOutcome {
        let outcome = ClusterRun.play(plan)
        for violation in outcome.violations {
            Issue.record("\(violation)\n\(plan.command)")
        }
        return outcome
    }

    /// `make test-simulation` plays more.
    @Test(arguments: [1, 2, 7_000_112, 1_795_367_237] as [UInt64])
    func `a cluster becomes whole again and has lost nothing`(seed: UInt64) {
        let outcome = Self.play(ClusterPlan(seed: seed, seconds: 3))
        #expect(outcome.produced > 0)
    }

    @Test(arguments: [11] as [UInt64])
    func `two runs of one seed are the same to the last event`(seed: UInt64) {
        let plan = ClusterPlan(seed: seed, seconds: 3)
        let (first, second) = (Self.play(plan), Self.play(plan))
        #expect(first.trace == second.trace)
        #expect(first.steps == second.steps)
        #expect(first.produced == second.produced)
    }

    @Test func `a long run is the same twice, and has trouble more than once`() {
        let plan = ClusterPlan(seed: 15, seconds: 240)
        let (first, second) = (Self.play(plan), Self.play(plan))
        #expect(first.trace == second.trace)
        #expect(first.episodes > 1)
        #expect(first.answered > 0)
    }

    @Test
    func `a course has trouble several times in ten minutes, and time for it passes only then`() {
        for seed in 1...50 {
            var generator = SeededGenerator(seed: UInt64(seed))
            let course = Course(seconds: 600, from: .seconds(7), &generator)
            #expect(course.episodeCount >= 4)
            #expect(course.calm(at: .seconds(7)) == nil)
            #expect(course.calm(at: .seconds(607)) == nil)
            var trouble: Int64 = 0
            var time = Int64.seconds(7)
            while time < .seconds(607) {
                if let calm = course.calm(at: time) {
                    time += calm
                } else {
                    #expect(course.delay(of: trouble, at: .seconds(7)) == time - .seconds(7))
                    trouble += .milliseconds(1)
                    time += .milliseconds(1)
                }
            }
            #expect(course.delay(of: trouble + 1, at: .seconds(7)) == nil)
            #expect(trouble < .seconds(120))
        }
    }

    @Test(arguments: [(minutes: 59, hasNights: false), (minutes: 600, hasNights: true)])
    func `only a run of an hour and more has nights`(minutes: Int64, hasNights: Bool) {
        for seed in 1...50 {
            var generator = SeededGenerator(seed: UInt64(seed))
            let course = Course(seconds: 60 * minutes, from: 0, &generator)
            var longest: Int64 = 0
            for second in 0..<60 * minutes {
                longest = max(longest, course.calm(at: .seconds(second)) ?? 0)
            }
            #expect((longest > .seconds(540)) == hasNights)
        }
    }

    @Test func `another seed is another run`() {
        let traces = [13, 14].map { Self.play(ClusterPlan(seed: $0, seconds: 2)).trace }
        #expect(traces[0] != traces[1])
    }

    @Test func `a cluster of one node and one of five are as good`() {
        for (seed, nodes) in [(21, 1), (22, 5)] {
            let plan = ClusterPlan(
                seed: UInt64(seed),
                nodes: nodes,
                seconds: 3,
                faults: [.kills, .powerCuts, .pauses]
            )
            #expect(Self.play(plan).produced > 0)
        }
    }

    @Test func `disks that lie about fdatasync are found out`() {
        let isFound = (31...40).contains { seed in
            let plan = ClusterPlan(
                seed: UInt64(seed),
                seconds: 10,
                faults: [.blackouts],
                plant: .lyingSync
            )
            return !ClusterRun.play(plan).violations.isEmpty
        }
        #expect(isFound)
    }

    @Test func `the command of a plan plays the same plan`() {
        let plan = ClusterPlan(
            seed: 7,
            nodes: 5,
            seconds: 90,
            faults: [.clogs, .wipes],
            plant: .lyingSync
        )
        #expect(
            plan.command == "chronik-sim cluster --seed 7 --nodes 5 --seconds 90"
                + " --faults clogs,wipes --plant lying-sync"
        )
        #expect(ClusterPlan(seed: 9).command == "chronik-sim cluster --seed 9")
    }

    @Test func `faults are read as they are written`() {
        for fault in ClusterFaults.names.map(\.fault) + [.all, []] {
            #expect(ClusterFaults(fault.text) == fault)
        }
        #expect(ClusterFaults("rain") == nil)
    }
}
