// SPDX-License-Identifier: Apache-2.0
using System.ComponentModel;
using System.Diagnostics;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>What tests and measurements on a GPU need: the first two checks decide, the others name what would be left out.</summary>
internal static class GpuChecks
{
    /// <summary>The first driver that takes the kernels' PTX.</summary>
    private static readonly Version s_firstDriver = new(12, 4);

    /// <summary>All checks, in the order they are shown.</summary>
    public static List<Finding> Examine() =>
    [
        DoctorCommand.Try("GPU", () => Device(HiMo.Kernels.Gpu.FindCuda())),
        DoctorCommand.Try("system", MachineChecks.System),
        DoctorCommand.Try("memory", MachineChecks.Memory),
        DoctorCommand.Try("sanitizer", () => Sanitizer(Environment.GetEnvironmentVariable("PATH") ?? "")),
        DoctorCommand.Try("Python", Python),
    ];

    /// <summary>Whether the first device can run the kernels.</summary>
    /// <param name="found">The driver's devices.</param>
    public static Finding Device(IReadOnlyList<GpuDescription> found)
    {
        const string Name = "GPU";
        string text = string.Join("; ", found.Select(device => $"cuda:{device.Index} {device}"));
        return found switch
        {
            [] => Finding.Problem(Name, "the driver shows no CUDA device, or there is no driver (libcuda.so.1)", $"install NVIDIA's driver of CUDA {s_firstDriver} or later; 'nvidia-smi' must list the GPU"),
            [var first, ..] when Version.TryParse(first.Driver, out Version? driver) && driver < s_firstDriver =>
                Finding.Problem(Name, $"{text}: the driver is too old", $"install NVIDIA's driver of CUDA {s_firstDriver} or later"),
            [{ IsSupported: false }, ..] => Finding.Problem(Name, $"{text}: too old", "use a GPU of sm_80 or later, which has the matrix instructions that the kernels use"),
            _ => Finding.Works(Name, text),
        };
    }

    /// <summary>NVIDIA's checker of kernels.</summary>
    /// <param name="path">Folders where programs are, separated as in PATH.</param>
    public static Finding Sanitizer(string path)
    {
        string? program = path.Split(Path.PathSeparator).Concat(["/usr/local/cuda/bin", "/opt/cuda/bin"]).Select(folder => Path.Combine(folder, "compute-sanitizer")).FirstOrDefault(File.Exists);
        return program is not null
            ? Finding.Works("sanitizer", program)
            : Finding.Absent("sanitizer", "no compute-sanitizer", "install the CUDA toolkit, which has it; without it memcheck, racecheck, initcheck and synccheck are left out");
    }

    private static Finding Python()
    {
        const string Remedy = "install torch for Python; without it the plain loss in torch is not measured";
        ProcessStartInfo start = new("python3", ["-c", "import sys, torch; print(sys.version.split()[0], torch.__version__, torch.version.cuda, torch.__path__[0])"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        try
        {
            using Process process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string[] words = process.StandardOutput.ReadToEnd().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            process.WaitForExit();
            return words is [var python, var torch, var cuda, var folder]
                ? Finding.Works("Python", $"Python {python}, torch {torch}, CUDA {cuda}, in {folder}")
                : Finding.Absent("Python", $"python3 has no torch: {errors.Result.Trim().Split('\n')[^1]}", Remedy);
        }
        catch (Win32Exception)
        {
            return Finding.Absent("Python", "no python3", Remedy);
        }
    }
}
