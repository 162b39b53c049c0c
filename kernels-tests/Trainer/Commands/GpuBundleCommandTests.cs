// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The bundle for GPU machines: its run.sh with programs that only pretend, its report, and, in the long form, the bundle itself.</summary>
[Platform("Linux")]
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class GpuBundleCommandTests
{
    private const string Bench = """{"device":"Card","cases":[{"case":"128,768","m":88,"graph_ms":0.25,"stream_ms":0.5},{"case":"128,768,strict,64","m":88,"graph_ms":2}]}""";

    private static readonly string s_scripts = Path.Combine(TestData.RepositoryRoot, "eng", "gpu-bundle");

    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("himo bundle ").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Every_stage_has_its_log_and_its_result_and_none_stops_the_next()
    {
        Pretend();
        (int code, string output) = RunScript("--out", Results, "machine", "tests", "bench", "profile=1", "baselines", "memcheck");
        JsonNode report = JsonNode.Parse(File.ReadAllText(Path.Combine(Results, "gpu.json")))!;
        string markdown = File.ReadAllText(Path.Combine(Results, "gpu.md"));
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(1), output);
            Assert.That(
                report["stages"]!.AsArray().Select(stage => $"{stage!["name"]} {stage["status"]} {stage["exit_code"]}"),
                Is.EqualTo(new[] { "machine passed 0", "tests failed 2", "bench passed 0", "profile timeout 124", "baselines missing 77", "memcheck missing 77" }), output);
            Assert.That(report["stages"]![1]!["tests"]!.ToJsonString(), Is.EqualTo("""{"passed":5,"failed":1,"skipped":2}"""));
            Assert.That(report["stages"]![1]!["log"]![0]!.ToString(), Is.EqualTo("failed Some_test(1)"));
            Assert.That(report["commit"]!.ToString(), Is.EqualTo("abc, with uncommitted changes"));
            Assert.That(report["machine"]![0]!["name"]!.ToString(), Is.EqualTo("GPU"));
            Assert.That(report["bench"]!["device"]!.ToString(), Is.EqualTo("Card"));
            Assert.That(markdown, Does.Contain("| tests | failed |").And.Contain("5, 1, 2").And.Contain("## profile: timeout").And.Contain("missing: compute-sanitizer"));
            Assert.That(File.ReadAllText(Path.Combine(Results, "profile.log")), Is.EqualTo("profiling\n"));
        });

        Assert.That(RunScript("--out", Results, "profile").Code, Is.Zero, "a stage again, with its own limit");
        report = JsonNode.Parse(File.ReadAllText(Path.Combine(Results, "gpu.json")))!;
        Assert.That(report["stages"]!.AsArray().Single(stage => stage!["name"]!.ToString() == "profile")!["status"]!.ToString(), Is.EqualTo("passed"));
    }

    [TestCase("nothing")]
    [TestCase("tests=0")]
    [TestCase("tests=1m")]
    [TestCase("--fast")]
    public void Stages_that_are_not_there_are_refused_before_anything_runs(string stage)
    {
        Pretend();
        (int code, string output) = RunScript("--out", Results, "machine", stage);
        Assert.That((code, output), Is.EqualTo((2, $"run.sh: there is no stage '{stage}'; ./run.sh --list shows them\n")));
        Assert.That(Directory.Exists(Results), Is.False);
    }

    [Test]
    public void Times_stand_beside_those_of_the_same_shape_and_precision()
    {
        Write("stages.tsv", "bench\tpassed\t0\t3\t240\n");
        Write("bench.json", Bench);
        Write("baselines.json", """
            {"rows":[{"rate":"copy"},{"form":"svd","shape":[128,768],"ms":5},{"form":"eigh","shape":[128,768],"ms":2.5},{"form":"svd","shape":[1024,768],"ms":9},
             {"form":"svd, loop","shape":[64,128,768],"ms":400},{"form":"eigh, batched","shape":[64,128,768],"skipped":"too long"}]}
            """);
        Write("training-vit-b16.json", """{"ours":{"loss":5.1,"step_ms":200,"loss_ms":2.5,"loss_share":0.0125,"pairs_per_second":640},"device_bytes_in_use":5}""");
        Assert.That(HimoCall.Run("gpu-report", _folder).Code, Is.Zero);
        Assert.That(
            File.ReadAllText(Path.Combine(_folder, "gpu.md")),
            Does.Contain("| vit-b16 | ours | 200.0 | 2.50 | 1.3 | 640 |").And.Contain("| 128,768 | 88 | 0.250 | 0.500 | 5.00 | 2.50 | 20.0 | 10.0 |").And.Contain("| 128,768,strict,64 | 88 | 2.000 | - | 400.00 | - | 200.0 | - |"));
    }

    [Test]
    public void Damaged_results_are_named()
    {
        Assert.That(HimoCall.Run("gpu-report", _folder).Error, Does.Contain("stages.tsv is not there").And.Contain("run.sh of the bundle"));
        Write("stages.tsv", "bench\tpassed\t0\tlong\t240\n");
        Assert.That(HimoCall.Run("gpu-report", _folder).Error, Does.Contain("is not name, status, exit code, seconds and limit"));
        Write("stages.tsv", "bench\tpassed\t0\t3\t240\n");
        Write("bench.json", "{");
        Assert.That(HimoCall.Run("gpu-report", _folder).Error, Does.Contain("bench.json is not JSON").And.Contain("Run its stage again"));
    }

    [Test]
    public void A_GPU_or_driver_that_is_too_old_or_missing_is_a_problem_with_a_remedy()
    {
        GpuDescription card = new(0, "Card", "sm_90", 80L << 30, 132, "12.4");
        Assert.Multiple(() =>
        {
            Assert.That(GpuChecks.Device([card]), Is.EqualTo(Finding.Works("GPU", $"cuda:0 {card}")));
            Assert.That(GpuChecks.Device([card with { Driver = "13.0" }]).Status, Is.EqualTo(FindingStatus.Works));
            Assert.That(GpuChecks.Device([card with { Driver = "12.3" }]), Has.Property("Status").EqualTo(FindingStatus.Problem).And.Property("Remedy").Contains("CUDA 12.4"));
            Assert.That(GpuChecks.Device([card with { Architecture = "sm_75" }]), Has.Property("Status").EqualTo(FindingStatus.Problem).And.Property("Remedy").Contains("sm_80"));
            Assert.That(GpuChecks.Device([]), Has.Property("Status").EqualTo(FindingStatus.Problem).And.Property("Remedy").Contains("nvidia-smi"));
            if (!Directory.Exists("/usr/local/cuda") && !Directory.Exists("/opt/cuda"))
            {
                Assert.That(GpuChecks.Sanitizer(_folder).Status, Is.EqualTo(FindingStatus.Absent));
            }

            Write("compute-sanitizer", "");
            Assert.That(GpuChecks.Sanitizer($"/nowhere:{_folder}"), Is.EqualTo(Finding.Works("sanitizer", Path.Combine(_folder, "compute-sanitizer"))));
        });
    }

    [Test]
    public void The_plain_loss_in_Python_agrees_with_itself()
    {
        string? python = new[] { "python3", "/usr/bin/python3" }.FirstOrDefault(each => Run(each, "-c", "import torch").Code == 0);
        if (python is null)
        {
            Assert.Ignore("no Python with torch (Debian: python3-torch)");
        }

        string file = Path.Combine(_folder, "rows.json");
        (int code, string output) = Run(python!, Path.Combine(TestData.RepositoryRoot, "perf", "baselines", "plain_torch.py"), "--device", "cpu", "--quick", "--only", "form", "--out", file);
        Assert.That(code, Is.Zero, output);
        IGrouping<string, JsonNode>[] shapes = [.. JsonNode.Parse(File.ReadAllText(file))!["rows"]!.AsArray()
            .Where(row => !row!["form"]!.ToString().StartsWith("contrast", StringComparison.Ordinal)).Select(row => row!).GroupBy(row => row["shape"]!.ToJsonString() + row["form"]!.ToString().StartsWith("hide", StringComparison.Ordinal))];
        Assert.That(shapes.Select(shape => shape.Count()), Is.EqualTo(new[] { 3, 3, 2, 4 }));
        foreach (IGrouping<string, JsonNode> shape in shapes)
        {
            foreach (JsonNode row in shape)
            {
                double tolerance = row["form"]!.ToString().Contains("bf16", StringComparison.Ordinal) ? 3e-2 : 1e-4;
                Assert.That((int)row["m"]!, Is.EqualTo((int)shape.First()["m"]!));
                Expect.Loss((double)row["loss"]!, (double)shape.First()["loss"]!, tolerance, $"{row}");
                Expect.Gradient([.. row["gradient_norms"]!.AsArray().Select(norm => (double)norm!)], [.. shape.First()["gradient_norms"]!.AsArray().Select(norm => (double)norm!)], tolerance, $"{row}");
            }
        }
    }

    [Test]
    public void The_bundle_is_small_enough_and_its_tests_need_nothing_installed()
    {
        if (!TestLength.IsLong)
        {
            Assert.Ignore("packs the bundle; ./test --long does it");
        }

        (int code, string output) = Run(Path.Combine(TestData.RepositoryRoot, "himo"), "gpu-bundle", "--out", _folder);
        Assert.That(code, Is.Zero, output);
        string file = Path.Combine(_folder, "himo-gpu.tar.xz");
        Assert.That(new FileInfo(file).Length, Is.LessThanOrEqualTo(60_000_000));
        Assert.That(Run("tar", "-C", _folder, "-xf", file).Code, Is.Zero);
        (code, output) = Run("env", "-i", Path.Combine(_folder, "himo-gpu", "bin", "HiMo.Kernels.Tests"), "--filter", "FullyQualifiedName~GpuGemmTests.");
        Assert.That(code, Is.Zero, output);
        Assert.That(output, Does.Contain("  failed: 0\n").And.Not.Contain("succeeded: 0"));
    }

    private string Results => Path.Combine(_folder, "results");

    // Programs that do what the stages need: one test fails, the profile never ends at its first call, nothing has Python's torch.
    private void Pretend()
    {
        File.Copy(Path.Combine(s_scripts, "run.sh"), Path.Combine(_folder, "run.sh"));
        Write("commit", "abc\nwith uncommitted changes\n");
        string report = $"exec '{Environment.ProcessPath}' '{HimoProgram.File}' \"$@\"";
        Program("bin/HiMo.Trainer", $$"""
            case "$*" in
              'doctor --gpu --json') echo '[{"name":"GPU","text":"Card"}]' ;;
              'bench gpu --json') echo '{{Bench}}' ;;
              'bench gpu --profile') echo profiling; [ -e "$HIMO_OUT/again" ] || { touch "$HIMO_OUT/again"; sleep 60; } ;;
              gpu-report*) {{report}} ;;
            esac
            """);
        Program("bin/HiMo.Kernels.Tests", "printf 'failed Some_test(1)\\n%12s\\n' {a..p}; printf '  total: 8\\n  failed: 1\\n  succeeded: 5\\n  skipped: 2\\n'; exit 2");
        Program("tools/python3", "exit 1");
    }

    private void Program(string name, string body)
    {
        Write(name, "#!/bin/bash\n" + body + "\n");
        File.SetUnixFileMode(Path.Combine(_folder, name), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private void Write(string name, string text)
    {
        string path = Path.Combine(_folder, name);
        _ = Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }

    private (int Code, string Output) RunScript(params string[] arguments) =>
        Run("env", [$"PATH={Path.Combine(_folder, "tools")}:/usr/bin:/bin", "bash", Path.Combine(_folder, "run.sh"), .. arguments]);

    private static (int Code, string Output) Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            Task<string> error = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output + error.Result);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return (-1, $"{program} is not there");
        }
    }
}
