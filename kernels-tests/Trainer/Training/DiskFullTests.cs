// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>A file system that takes no more bytes, by the process's own limit on the size of files.</summary>
[Platform("Linux")]
[NonParallelizable]
internal sealed partial class DiskFullTests
{
    private TrainingScenes _scenes = null!;

    [OneTimeSetUp]
    public void MakeScenes() => _scenes = new TrainingScenes();

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    /// <summary>Weights of W bytes and a state of 2 W: a limit of W / 2 stops the one, of 3 W / 2 the other.</summary>
    [TestCase(0.5)]
    [TestCase(1.5)]
    public void The_checkpoint_before_stays_and_the_run_goes_on_from_it(double shareOfWeights)
    {
        string whole = _scenes.Folder("whole"), full = _scenes.Folder($"full{shareOfWeights}");
        TrainingConfig config = _scenes.Config with { SaveEvery = 2, MicroBatch = 8, Ema = 0.99 };
        if (!Directory.Exists(whole))
        {
            TrainingScenes.Train(whole, config);
        }

        using (CancellationTokenSource stop = new())
        {
            stop.Cancel(); // after the first step
            Assert.That(() => TrainingScenes.Train(full, config, cancel: stop.Token), Throws.InstanceOf<OperationCanceledException>());
        }

        string checkpoints = Path.Combine(full, "checkpoints");
        byte[] state = File.ReadAllBytes(Path.Combine(checkpoints, "step_000001.state"));
        using (new FileSizeLimit((long)(shareOfWeights * new FileInfo(Path.Combine(checkpoints, "step_000001.safetensors")).Length)))
        {
            Assert.That(() => TrainingScenes.Train(full, config, resume: true), Throws.TypeOf<UserError>().With.Message.Contains("cannot be written"));
        }

        Assert.That(Directory.EnumerateFiles(checkpoints, "*.state").Select(Path.GetFileName), Is.EqualTo(new[] { "step_000001.state" }));
        Assert.That(File.ReadAllBytes(Path.Combine(checkpoints, "step_000001.state")), Is.EqualTo(state));
        Assert.That(Directory.EnumerateFiles(full, "*.tmp", SearchOption.AllDirectories), Is.Empty, "nothing half-written");
        TrainingScenes.Train(full, config, resume: true);
        Assert.That(TrainingScenes.Model(full), Is.EqualTo(TrainingScenes.Model(whole)));
        Assert.That(File.ReadAllBytes(Path.Combine(full, TrainingRun.AverageFile)), Is.EqualTo(File.ReadAllBytes(Path.Combine(whole, TrainingRun.AverageFile))));
    }

    /// <summary>While it lives, no file of this process grows beyond a size; writing more fails as on a full disk.</summary>
    private sealed partial class FileSizeLimit : IDisposable
    {
        private const int FileSize = 1; // RLIMIT_FSIZE
        private const int Signal = 25;  // SIGXFSZ, which would end the process

        private readonly Limits _before;

        public FileSizeLimit(long bytes)
        {
            _ = SetHandler(Signal, 1); // SIG_IGN
            Assert.That(Get(FileSize, out _before), Is.Zero);
            Limits limited = _before with { Current = (ulong)bytes };
            Assert.That(Set(FileSize, in limited), Is.Zero);
        }

        public void Dispose() => Assert.That(Set(FileSize, in _before), Is.Zero);

        [LibraryImport("libc", EntryPoint = "getrlimit")]
        private static partial int Get(int resource, out Limits limits);

        [LibraryImport("libc", EntryPoint = "setrlimit")]
        private static partial int Set(int resource, in Limits limits);

        [LibraryImport("libc", EntryPoint = "signal")]
        private static partial nint SetHandler(int signal, nint handler);

        private record struct Limits(ulong Current, ulong Largest);
    }
}
