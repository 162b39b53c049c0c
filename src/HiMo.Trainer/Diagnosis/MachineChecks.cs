// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Looks at the processor, memory, disk and graphics cards.</summary>
internal static class MachineChecks
{
    private const double Gibibyte = 1L << 30;
    private const double NeededMemory = 2.0 * Gibibyte;   // the demo's six runs side by side
    private const double NeededDisk = 1.0 * Gibibyte;     // the demo's data, runs and checkpoints
    private const string NvidiaDriver = "/proc/driver/nvidia/version";

    public static Finding System()
    {
        string text = $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}, {Environment.ProcessorCount} processors, SIMD of {VectorBits()} bits";
        return VectorBits() > 64
            ? Finding.Works("system", text)
            : Finding.Problem("system", text, "unset DOTNET_EnableHWIntrinsic; without SIMD the loss takes many times longer");
    }

    public static Finding DotNet() => Finding.Works(".NET", $"{RuntimeInformation.FrameworkDescription} in {RuntimeEnvironment.GetRuntimeDirectory()}");

    public static Finding Memory()
    {
        double total = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        double free = AvailableMemory() ?? total;
        string text = $"{Size(free)} available of {Size(total)}";
        return free >= NeededMemory ? Finding.Works("memory", text) : Finding.Problem("memory", text, $"end other programs; the demo needs {Size(NeededMemory)}");
    }

    /// <param name="folder">Where runs are written.</param>
    public static Finding Disk(string folder)
    {
        double free = new DriveInfo(folder).AvailableFreeSpace;
        string text = $"{Size(free)} free in {folder}";
        return free >= NeededDisk ? Finding.Works("disk", text) : Finding.Problem("disk", text, $"delete old run folders below out/; the demo needs {Size(NeededDisk)}");
    }

    public static Finding PackageCache()
    {
        string folder = Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } set
            ? set
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        string[] brought = Directory.GetFiles(AppContext.BaseDirectory, "*torch_cpu.*");
        return Directory.Exists(folder) ? Finding.Works("package cache", folder)
            : brought.Length > 0 ? Finding.Works("package cache", "none is needed: this program brings its native libraries")
            : Finding.Problem("package cache", $"{folder} does not exist", "run 'dotnet restore'; the native libraries are loaded from there");
    }

    /// <summary>NVIDIA cards on the bus and the driver's version; Linux alone shows both as files.</summary>
    public static Finding Gpu()
    {
        const string Devices = "/sys/bus/pci/devices";
        int cards = Directory.Exists(Devices) ? Directory.GetDirectories(Devices).Count(IsNvidiaCard) : 0;
        if (File.Exists(NvidiaDriver))
        {
            return Finding.Works("GPU", $"{cards} NVIDIA; {File.ReadLines(NvidiaDriver).First()}");
        }

        return cards > 0
            ? Finding.Problem("GPU", $"{cards} NVIDIA, but no driver is loaded ({NvidiaDriver} is missing)", "install the NVIDIA driver (Debian: nvidia-driver) and restart")
            : Finding.Absent("GPU", "no NVIDIA card or driver", "none is needed: everything here runs on the CPU");
    }

    /// <summary>Devices that ILGPU finds, in the drivers' order.</summary>
    public static Finding IlgpuDevices()
    {
        IReadOnlyList<GpuDescription> cuda = HiMo.Kernels.Gpu.FindCuda();
        IEnumerable<string> openCl = HiMo.Kernels.Gpu.FindOpenCl().Select(device => Describe("opencl", device));
        string text = string.Join("; ", [.. cuda.Select(device => Describe("cuda", device)), .. openCl, "CPU accelerator (emulation, for tests)"]);
        return cuda.Any(device => !device.IsSupported)
            ? Finding.Absent("ILGPU", text, "use the CPU, or a GPU of sm_80 or later, which has the matrix instructions that the kernels use")
            : Finding.Works("ILGPU", text);
    }

    /// <summary>A number of bytes as people read it.</summary>
    /// <param name="bytes">The number.</param>
    public static string Size(double bytes) => bytes >= Gibibyte
        ? FormattableString.Invariant($"{bytes / Gibibyte:0.0} GiB")
        : FormattableString.Invariant($"{bytes / (1 << 20):0} MiB");

    private static string Describe(string kind, GpuDescription device) => $"{kind}:{device.Index} {device}{(device.IsSupported ? "" : ", too old for the kernels")}";

    private static int VectorBits() => Vector512.IsHardwareAccelerated ? 512
        : Vector256.IsHardwareAccelerated ? 256
        : Vector128.IsHardwareAccelerated ? 128
        : 64;

    private static double? AvailableMemory()
    {
        const string Counters = "/proc/meminfo";
        string? line = File.Exists(Counters)
            ? File.ReadLines(Counters).FirstOrDefault(line => line.StartsWith("MemAvailable:", StringComparison.Ordinal))
            : null;
        return line is null ? null : 1024.0 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }

    private static bool IsNvidiaCard(string device)
    {
        const string Nvidia = "0x10de";
        const string Display = "0x03";
        return Starts("vendor", Nvidia) && Starts("class", Display);

        bool Starts(string file, string prefix) =>
            File.Exists(Path.Combine(device, file)) && File.ReadAllText(Path.Combine(device, file)).StartsWith(prefix, StringComparison.Ordinal);
    }
}
