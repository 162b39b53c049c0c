// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.IO.Compression;
using System.Xml.Linq;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>The packages as a stranger gets them: packed, installed from a folder into a fresh console project, and used as README says.</summary>
[Platform("Linux")]
public sealed class PackageTests
{
    // No version of a release, so that nothing of this run can be mistaken for one.
    private const string Version = "0.0.0-test";

    private static readonly string[] s_packages = ["HiMo.Kernels", "HiMo.Interop", "HiMo.Trainer"];
    private static readonly string[] s_loss = ["HiMo.Kernels", "HiMo.Interop"];
    private string _folder = "";

    [OneTimeSetUp]
    public void Pack()
    {
        _folder = Directory.CreateTempSubdirectory("himo packages ").FullName;
        foreach (string package in s_packages)
        {
            string project = Path.Combine(TestData.RepositoryRoot, "src", package);
            Run("pack", project, "-c", "Release", "--no-build", "-v", "quiet", $"-p:Version={Version}", "-o", Path.Combine(_folder, "feed"));
        }
    }

    [OneTimeTearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [TestCaseSource(nameof(s_packages))]
    public void A_package_carries_assembly_documentation_symbols_readme_and_licence(string package)
    {
        using ZipArchive archive = ZipFile.OpenRead(Path.Combine(_folder, "feed", $"{package}.{Version}.nupkg"));
        string[] files = [.. archive.Entries.Select(entry => entry.FullName)];
        XDocument specification = XDocument.Load(archive.GetEntry($"{package}.nuspec")!.Open());
        Assert.Multiple(() =>
        {
            Assert.That(files, Is.SupersetOf(new[] { $"lib/net10.0/{package}.dll", $"lib/net10.0/{package}.xml", $"lib/net10.0/{package}.pdb", "README.md", "LICENSE" }));
            Assert.That(Value("readme"), Is.EqualTo("README.md"));
            Assert.That(Value("license"), Is.EqualTo("Apache-2.0"));
            Assert.That(Value("description"), Does.StartWith("HiMo-CLIP's "));
        });

        string Value(string name) => specification.Descendants().Single(element => element.Name.LocalName == name).Value;
    }

    [TestCase("HiMo.Kernels", "ILGPU", "ILGPU.Algorithms", "System.Numerics.Tensors")]
    [TestCase("HiMo.Interop", "HiMo.Kernels", "TorchSharp")]
    [TestCase("HiMo.Trainer", "HiMo.Interop", "AngleSharp", "Microsoft.ML.Tokenizers", "SkiaSharp", "SkiaSharp.NativeAssets.Linux.NoDependencies", "Spectre.Console", "System.CommandLine",
        "Google.Protobuf", "ILGPU", "ILGPU.Algorithms", "SharpZipLib", "System.Numerics.Tensors", "TorchSharp")]
    public void A_package_depends_on_nothing_else(string package, params string[] dependencies)
    {
        using ZipArchive archive = ZipFile.OpenRead(Path.Combine(_folder, "feed", $"{package}.{Version}.nupkg"));
        XDocument specification = XDocument.Load(archive.GetEntry($"{package}.nuspec")!.Open());
        Assert.That(
            specification.Descendants().Where(element => element.Name.LocalName == "dependency").Select(element => element.Attribute("id")!.Value),
            Is.EquivalentTo(dependencies));
    }

    [Test]
    public void The_example_of_the_readme_trains_ten_steps_in_a_fresh_project()
    {
        string project = CreateConsumer("run", ReadmeExample(0), s_loss);
        CheckOutput(BuildAndRun(project));
    }

    /// <summary>The lines of the readme, with a small model of scenes in place of the checkpoint.</summary>
    [Test]
    public void A_checkpoint_is_loaded_and_encodes_in_a_fresh_project()
    {
        using SceneModel scenes = new(scenes: 1, seed: 51);
        GrowingCaption caption = scenes.Captions[0];
        string example = ReadmeExample(1).Replace("street.jpg", caption.ImagePath, StringComparison.Ordinal).Replace("ViT-L-14.pt", scenes.Checkpoint, StringComparison.Ordinal)
            .Replace("An old street.", caption.Captions[0], StringComparison.Ordinal).Replace("An old street with a red sign on the left.", caption.Captions[^1], StringComparison.Ordinal)
            .Replace("context: 248", "context: null", StringComparison.Ordinal);
        double[] shown = [.. BuildAndRun(CreateConsumer("encode", example, ["HiMo.Trainer"])).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries)
            .Select(text => double.Parse(text, System.Globalization.CultureInfo.InvariantCulture))];
        using ClipModel model = ClipModel.Load(scenes.Checkpoint);
        using DisposeScope scope = NewDisposeScope();
        Tensor expected = model.EncodeImages([caption.ImagePath]).matmul(model.EncodeTexts([caption.Captions[0], caption.Captions[^1]]).t());
        Assert.That(shown, Is.EqualTo(expected.data<float>().Select(value => (double)value)).Within(1e-5));
    }

    [Test]
    public void Without_libtorch_the_message_names_the_package()
    {
        string project = CreateConsumer("bare", "using HiMo.Interop.MoLoLoss molo = new();", s_loss, libtorch: "");
        string error = RunProgram("dotnet", fails: true, "run", "--project", project);
        Assert.That(error, Does.Contain("DllNotFoundException: libtorch was not found or did not load. Add to your project: <PackageReference Include=\"libtorch-cpu-"));
    }

    [Test]
    public void The_example_of_the_readme_runs_when_published_with_its_own_runtime()
    {
        if (!TestLength.IsLong)
        {
            Assert.Ignore("publishing copies 560 MB of libtorch; ./test --long does it");
        }

        string project = CreateConsumer("publish", ReadmeExample(0), s_loss), output = Path.Combine(_folder, "published");
        _ = Run("publish", project, "-c", "Release", "-r", "linux-x64", "--self-contained", "-o", output);
        CheckOutput(RunProgram(Path.Combine(output, "consumer"), fails: false));
    }

    private static void CheckOutput(string output)
    {
        string[] lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        double[] losses = [.. lines.Select(line => double.Parse(line.Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture))];
        Assert.Multiple(() =>
        {
            Assert.That(losses, Has.Length.EqualTo(10));
            Assert.That(losses[9], Is.LessThan(losses[0]), "training lowers the loss");
            Assert.That(lines, Has.All.Match(@"with \d+ of 64 components$"));
        });
    }

    private string CreateConsumer(string name, string program, string[] packages, string libtorch = """<PackageReference Include="libtorch-cpu-linux-x64" Version="2.10.0" />""")
    {
        string project = Path.Combine(_folder, name);
        _ = Directory.CreateDirectory(project);
        File.WriteAllText(Path.Combine(project, "Program.cs"), program);
        string references = string.Concat(packages.Select(package => $"<PackageReference Include=\"{package}\" Version=\"{Version}\" />"));
        File.WriteAllText(Path.Combine(project, "consumer.csproj"), $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <Nullable>enable</Nullable>
                <!-- New packages go here, the rest is read from the user's cache. -->
                <RestorePackagesPath>../packages</RestorePackagesPath>
                <RestoreFallbackFolders>{PackageCache()}</RestoreFallbackFolders>
                <RestoreAdditionalProjectSources>../feed</RestoreAdditionalProjectSources>
              </PropertyGroup>
              <ItemGroup>
                {references}
                {libtorch}
              </ItemGroup>
            </Project>
            """);
        return project;
    }

    private static string ReadmeExample(int number)
    {
        string[] lines = File.ReadAllLines(Path.Combine(TestData.RepositoryRoot, "README.md"));
        int start = -1;
        for (int i = 0; i <= number; i++)
        {
            start = Array.IndexOf(lines, "```csharp", start + 1);
        }

        int end = Array.IndexOf(lines, "```", start + 1);
        return string.Join('\n', lines[(start + 1)..end]);
    }

    private static string PackageCache() => Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } set
        ? set
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");

    /// <summary>What the program prints; the build's own lines, such as warnings of the package restore, are not among it.</summary>
    private string BuildAndRun(string project)
    {
        _ = Run("build", project);
        return Run("run", "--no-build", "--project", project);
    }

    private string Run(params string[] arguments) => RunProgram("dotnet", fails: false, arguments);

    /// <summary>Standard output; standard error of a program that is meant to fail.</summary>
    private string RunProgram(string program, bool fails, params string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = _folder,
            Environment = { ["MSBUILDDISABLENODEREUSE"] = "1", ["DOTNET_NOLOGO"] = "1" },
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.That(process.ExitCode != 0, Is.EqualTo(fails), $"{program} {string.Join(' ', arguments)}\n{output}\n{error.Result}");
        return fails ? error.Result : output;
    }
}
