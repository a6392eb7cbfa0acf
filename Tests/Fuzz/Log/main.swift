import FuzzDriver

FuzzProgram.run(seeds: LogSeeds.all) { bytes in
    var input = FuzzInput(bytes)
    if input.byte() & 1 == 0 { DamagedLog.check(&input) } else { ForgedLog.check(&input) }
}
