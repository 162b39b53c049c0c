// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer.Reporting;

/// <summary>A page in headless Chromium: its document after scripts ran, and what it said on the console.</summary>
/// <param name="Document">The final HTML.</param>
/// <param name="Console">Console messages and uncaught errors, one a line.</param>
internal sealed record Chromium(string Document, IReadOnlyList<string> Console)
{
    private static readonly string[] s_names = ["chromium", "chromium-browser", "google-chrome"];

    /// <summary>Opens the page in a window of the given width; skips the running test where there is no Chromium.</summary>
    /// <param name="page">Path of the page.</param>
    /// <param name="width">Window width in CSS pixels.</param>
    public static Chromium Open(string page, int width)
    {
        string profile = Path.Combine(Path.GetTempPath(), $"himo-chromium-{Guid.NewGuid():N}");
        ProcessStartInfo start = new(Find()) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in new[]
        {
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--allow-file-access-from-files", // a page may look into a frame of its own
            $"--user-data-dir={profile}", $"--window-size={width},2000", "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", new Uri(page).AbsoluteUri,
        })
        {
            start.ArgumentList.Add(argument);
        }

        try
        {
            using Process process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            Task<string> document = process.StandardOutput.ReadToEndAsync();
            if (!process.WaitForExit(TimeSpan.FromSeconds(90)))
            {
                process.Kill(entireProcessTree: true);
                Assert.Fail("Chromium did not finish within 90 s");
            }

            return new Chromium(document.Result, [.. errors.Result.Split('\n').Where(line => line.Contains("CONSOLE", StringComparison.Ordinal))]);
        }
        finally
        {
            if (Directory.Exists(profile))
            {
                Directory.Delete(profile, recursive: true);
            }
        }
    }

    private static string Find()
    {
        string? found = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .SelectMany(folder => s_names.Select(name => Path.Combine(folder, name))).FirstOrDefault(File.Exists);
        if (found is null)
        {
            Assert.Ignore("no Chromium on the PATH; on Debian 'apt-get install chromium' brings it");
        }

        return found!;
    }
}
