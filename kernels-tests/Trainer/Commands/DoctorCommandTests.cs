// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class DoctorCommandTests
{
    private string? _vocabulary;

    [SetUp]
    public void RememberVocabulary() => _vocabulary = Environment.GetEnvironmentVariable(Tokenizers.Variable);

    [TearDown]
    public void RestoreVocabulary() => Environment.SetEnvironmentVariable(Tokenizers.Variable, _vocabulary);

    [Test]
    public void A_check_that_dies_is_a_finding()
    {
        Finding finding = DoctorCommand.Try("GPU", () => throw new BadImageFormatException("broken driver"));

        Assert.That(finding.Status, Is.EqualTo(FindingStatus.Problem));
        Assert.That(finding.Text, Does.Contain("broken driver"));
        Assert.That(finding.Remedy, Is.Not.Empty);
    }

    [Test]
    public void Every_part_is_examined_and_what_does_not_work_has_a_remedy()
    {
        HimoCall call = HimoCall.Run("doctor", "--json");
        JsonElement[] findings = [.. JsonDocument.Parse(call.Output).RootElement.EnumerateArray()];
        Assert.Multiple(() =>
        {
            Assert.That(
                findings.Select(finding => finding.GetProperty("name").GetString()),
                Is.SupersetOf(new[] { "system", ".NET", "libtorch", "GPU", "ILGPU", "memory", "disk", "package cache", "base models", "demo data", "CLIP vocabulary", "test data" }));
            foreach (JsonElement finding in findings)
            {
                string status = finding.GetProperty("status").GetString()!;
                Assert.That(status, Is.AnyOf("works", "absent", "problem"));
                Assert.That(finding.GetProperty("text").GetString(), Is.Not.Empty);
                Assert.That(finding.GetProperty("remedy").ValueKind, Is.EqualTo(status == "works" ? JsonValueKind.Null : JsonValueKind.String));
            }

            Assert.That(call.Code, Is.EqualTo(findings.Any(finding => finding.GetProperty("status").GetString() == "problem") ? 1 : 0));
            Assert.That(call.Error, Is.Empty);
        });
    }

    [Test]
    public void Libtorch_is_described_by_version_threads_and_blas()
    {
        Finding finding = TorchChecks.Libtorch();
        Assert.Multiple(() =>
        {
            Assert.That(finding.Status, Is.EqualTo(FindingStatus.Works), finding.Text);
            Assert.That(finding.Text, Does.Match(@"^2\.10\.\d.*, \d+ threads, BLAS .+"));
        });
    }

    [Test]
    public void Devices_are_listed_with_memory_architecture_and_driver()
    {
        Finding finding = MachineChecks.IlgpuDevices();
        string[] devices = finding.Text.Split("; ");
        IReadOnlyList<GpuDescription> cuda = Gpu.FindCuda();
        Assert.Multiple(() =>
        {
            Assert.That(devices, Does.Contain("CPU accelerator (emulation, for tests)"));
            Assert.That(devices[..cuda.Count], Is.EqualTo(cuda.Select(each => $"cuda:{each.Index} {each}")));
        });
    }

    [Test]
    public void A_wrong_vocabulary_is_a_problem_and_a_missing_one_is_not()
    {
        Environment.SetEnvironmentVariable(Tokenizers.Variable, "/no/such/vocabulary");
        Finding wrong = DataChecks.Vocabulary();
        Environment.SetEnvironmentVariable(Tokenizers.Variable, null);
        Finding missing = DataChecks.Vocabulary();
        HimoCall call = HimoCall.Run("doctor");
        Assert.Multiple(() =>
        {
            Assert.That(wrong.Status, Is.EqualTo(FindingStatus.Problem));
            Assert.That(wrong.Text, Does.Contain("/no/such/vocabulary"));
            Assert.That(wrong.Remedy, Does.Contain(Tokenizers.Variable).And.Contain("--vocab"));
            Assert.That(missing.Status, Is.EqualTo(FindingStatus.Absent));
            Assert.That(call.Output, Does.Contain($"-   CLIP vocabulary  {Tokenizers.Variable} is not set\n"));
            Assert.That(call.Output, Does.Contain($"-> {missing.Remedy}"));
        });
    }

    [Test]
    public void Missing_base_models_are_a_problem_of_the_checkout()
    {
        string empty = Directory.CreateTempSubdirectory("himo-doctor-").FullName;
        Finding finding = DataChecks.BaseModels(empty);
        Directory.Delete(empty);
        Assert.That((finding.Status, finding.Remedy), Is.EqualTo((FindingStatus.Problem, "git checkout -- models in the checkout, and build again; the demo starts from them")));
    }
}
