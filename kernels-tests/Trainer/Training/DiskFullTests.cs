// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
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

    /// <summary>A file system of 24 MB, on which each checkpoint leaves 3 MB of weights and 6 MB of state take turns: the fourth does not fit.</summary>
    [Test]
    public void A_full_file_system_is_named_and_the_run_goes_on_when_there_is_room()
    {
        string mount = _scenes.Folder("mount"), whole = _scenes.Folder("whole-of-8"), done = _scenes.Folder("done.safetensors");
        Directory.CreateDirectory(mount);
        TrainingScenes.Train(whole, _scenes.Config);
        string[] train = _scenes.Arguments(Path.Combine(mount, "run"), "--save-every", "1", "--resume");
        const string Script = """
            mount -t tmpfs -o size=24m tmpfs "$1" || exit 99
            mount=$1; done=$2; shift 2
            "$@" 2>"$mount.log" && exit 98
            find "$mount" -name '*.tmp' | grep . && exit 97
            mount -o remount,size=100m "$mount" && "$@" 2>/dev/null && cp "$mount/run/model.safetensors" "$done"
            """;
        ProcessStartInfo start = new("unshare", ["--user", "--map-root-user", "--mount", "sh", "-c", Script, "sh", mount, done, Environment.ProcessPath!, HimoProgram.File, .. train])
        {
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode is 1 or 99 && !File.Exists(mount + ".log"))
        {
            Assert.Ignore($"no file system can be mounted here: {error.Trim()}");
        }

        Assert.That(process.ExitCode, Is.Zero, error + File.ReadAllText(mount + ".log"));
        Assert.That(File.ReadAllText(mount + ".log"), Does.Contain("cannot be written").And.Contain("No space left"));
        Assert.That(File.ReadAllBytes(done), Is.EqualTo(TrainingScenes.Model(whole)));
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
