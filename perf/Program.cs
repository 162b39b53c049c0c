// SPDX-License-Identifier: Apache-2.0
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using HiMo.Kernels.Perf;

// In this process, because a generated project would not know where libtorch lies. Tables go to perf/artifacts; those that stay are copied to perf/results.
IConfig config = ManualConfig.Create(DefaultConfig.Instance)
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .WithArtifactsPath(Path.Combine("perf", "artifacts"));
BenchmarkSwitcher.FromAssembly(typeof(MoLoLossBenchmarks).Assembly).Run(args, config);
