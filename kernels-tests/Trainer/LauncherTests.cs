// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The shell launchers as a user calls them.</summary>
[Platform("Linux")]
public sealed class LauncherTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("himo launcher ").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Himo_runs_from_any_folder_and_through_a_link()
    {
        string link = Path.Combine(_folder, "my himo");
        File.CreateSymbolicLink(link, Path.Combine(TestData.RepositoryRoot, "himo"));
        (int code, string output, string error) = Run(link, "--version");
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.Zero, error);
            Assert.That(output, Does.Match(@"^\d+\.\d+\.\d+"));
        });
        Assert.That(Run(link, "--version").Error, Is.Empty, "a second start builds nothing");
    }

    [Test]
    public void Himo_passes_arguments_and_exit_code_on()
    {
        (int code, string output, string error) = Run(Path.Combine(TestData.RepositoryRoot, "himo"), "--no such");
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(2));
            Assert.That(output, Is.Empty);
            Assert.That(error, Does.Contain("has no option --no such;"));
        });
    }

    [Test]
    public void Himo_names_the_sdk_where_it_is_missing()
    {
        File.CreateSymbolicLink(Path.Combine(_folder, "readlink"), "/usr/bin/readlink");
        (int code, _, string error) = Run("/usr/bin/env", "-i", $"PATH={_folder}", "/bin/bash", CopyOf("himo"));
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(error, Does.StartWith("himo: the .NET 10 SDK is not installed: https://").And.Contain("dotnet-install.sh"));
        });
    }

    [TestCase("1", "build, precompile, build, doctor")]
    [TestCase("0", "build, doctor")]
    public void Himo_compiles_the_gpu_kernels_once_where_they_are_wanted(string wanted, string calls)
    {
        string himo = CopyOf("himo"), log = Path.Combine(_folder, "calls"), program = Path.Combine(_folder, "src", "HiMo.Trainer", "bin", "Release", "net10.0", "HiMo.Trainer.dll");
        _ = Directory.CreateDirectory(Path.GetDirectoryName(program)!);
        foreach (string source in new[] { "models", "Directory.Build.props", "global.json", ".editorconfig" })
        {
            File.WriteAllText(Path.Combine(_folder, source), "");
        }

        // In the place of the SDK: writes down the command, and builds by making the program.
        string bin = Directory.CreateDirectory(Path.Combine(_folder, "bin")).FullName, dotnet = Path.Combine(bin, "dotnet");
        File.WriteAllText(dotnet, $"#!/bin/bash\n[ \"$1\" != --list-sdks ] || {{ echo 10.0.100; exit; }}\n[ \"$1\" != build ] || {{ touch '{program}'; shift; set -- - build; }}\necho \"$2\" >>'{log}'\n");
        _ = Run("chmod", "+x", dotnet);
        string[] environment = [$"PATH={bin}:{Environment.GetEnvironmentVariable("PATH")}", $"HIMO_PRECOMPILE={wanted}"];
        (int code, string output, string error) first = Run("env", [.. environment, himo, "doctor"]), second = Run("env", [.. environment, himo, "doctor"]);
        Assert.Multiple(() =>
        {
            Assert.That(first.code, Is.Zero, first.error);
            Assert.That(first.error.Contains("compiling the GPU kernels ahead"), Is.EqualTo(wanted == "1"));
            Assert.That((second.code, second.error), Is.EqualTo((0, "")));
            Assert.That(File.ReadAllLines(log), Is.EqualTo(calls.Split(", ").Append("doctor")));
        });
        File.Delete(program);
        Assert.That(Run("env", "HIMO_PRECOMPILE=yes", environment[0], himo).Error, Does.Contain("HIMO_PRECOMPILE must be 1, 0 or not set; it is yes"));
    }

    [Test]
    public void Test_refuses_arguments_that_it_does_not_know()
    {
        (int code, _, string error) = Run(Path.Combine(TestData.RepositoryRoot, "test"), "--fast");
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(2));
            Assert.That(error, Is.EqualTo("usage: ./test [--long]\n"));
        });
    }

    [Test]
    public void Continuous_integration_calls_test_and_nothing_else()
    {
        string[] lines = File.ReadAllLines(Path.Combine(TestData.RepositoryRoot, ".ci", "run"));
        Assert.That(lines, Is.EqualTo(new[] { "#!/usr/bin/env bash", "exec \"$(dirname \"$0\")/../test\"" }));
    }

    [Test]
    public void A_fresh_copy_in_a_folder_with_spaces_builds_once_and_again_after_a_change()
    {
        if (!TestLength.IsLong)
        {
            Assert.Ignore("builds a whole copy; ./test --long runs it");
        }

        string himo = CopyOf("himo");
        Copy("src");
        Copy("models");
        foreach (string file in Directory.GetFiles(TestData.RepositoryRoot).Where(file => !Path.GetFileName(file).StartsWith("test", StringComparison.Ordinal)))
        {
            File.Copy(file, Path.Combine(_folder, Path.GetFileName(file)), overwrite: true);
        }

        (int code, string output, string error) first = Run(himo, "--version");
        string second = Run(himo, "--version").Error;
        File.AppendAllText(Path.Combine(_folder, "src", "HiMo.Trainer", "Program.cs"), "syntax error");
        (int code, string output, string error) broken = Run(himo, "--version");
        Assert.Multiple(() =>
        {
            Assert.That(first.code, Is.Zero, first.error);
            Assert.That(first.error, Does.StartWith("himo: building"));
            Assert.That(second, Is.Empty);
            Assert.That(broken.code, Is.EqualTo(1));
            Assert.That(broken.error, Does.Contain("Program.cs").And.Contain("error CS").And.Contain("the build failed"));
        });
    }

    [Test]
    public void A_published_folder_runs_without_anything_around_it()
    {
        if (!TestLength.IsLong)
        {
            Assert.Ignore("publishes the program with runtime and libtorch, 585 MB; ./test --long runs it");
        }

        string published = Path.Combine(_folder, "himo"), artifacts = Path.Combine(_folder, "artifacts");
        (int code, string output, string error) = Run(
            Environment.ProcessPath!, "publish", Path.Combine(TestData.RepositoryRoot, "src", "HiMo.Trainer"), "-c", "Release", "-r", "linux-x64", "--self-contained", "--artifacts-path", artifacts, "-o", published);
        Assert.That(code, Is.Zero, output + error);
        (code, output, error) = Run("env", "-i", $"HOME={_folder}", Path.Combine(published, "HiMo.Trainer"), "doctor");
        Assert.That(output, Does.Match(@"ok +libtorch +2\.10").And.Contain("this program brings its native libraries"), error);
    }

    /// <summary>Copies a launcher and what it sources into the test's folder.</summary>
    private string CopyOf(string launcher)
    {
        Copy("eng");
        string copy = Path.Combine(_folder, launcher);
        File.Copy(Path.Combine(TestData.RepositoryRoot, launcher), copy);
        return copy;
    }

    private void Copy(string folder)
    {
        string from = Path.Combine(TestData.RepositoryRoot, folder);
        IEnumerable<string> files = Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(TestData.RepositoryRoot, file))
            .Where(file => !file.Split(Path.DirectorySeparatorChar).Any(part => part is "bin" or "obj"));
        foreach (string file in files)
        {
            string copy = Path.Combine(_folder, file);
            _ = Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(Path.Combine(TestData.RepositoryRoot, file), copy);
        }
    }

    private (int Code, string Output, string Error) Run(string program, params string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = _folder };
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output.Result, error);
    }
}
