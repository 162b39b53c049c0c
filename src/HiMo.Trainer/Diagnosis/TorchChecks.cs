// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using System.Text;
using HiMo.Interop;
using TorchSharp;

namespace HiMo.Trainer;

/// <summary>Loads libtorch and asks it what it is.</summary>
internal static class TorchChecks
{
    /// <summary>Version, threads, BLAS, and a product that shows that it computes.</summary>
    public static Finding Libtorch()
    {
        try
        {
            TorchLoader.EnsureLoaded();
        }
        catch (DllNotFoundException failure)
        {
            string remedy = IsForeign
                ? $"unset {TorchLoader.FolderVariable}, or name the folder of a libtorch 2.10"
                : "run 'dotnet restore' and delete src/HiMo.Trainer/obj/himo.signature, so that the next start builds anew";
            return Finding.Problem("libtorch", failure.Message.ReplaceLineEndings(" "), remedy);
        }

        using torch.Tensor ones = torch.ones(64, 64);
        using torch.Tensor product = ones.mm(ones);
        float sum = product.sum().item<float>();
        string text = $"{Version}, {torch.get_num_threads()} threads, BLAS {Blas()}{(TorchLoader.UsedWeakCopy ? ", loaded around an older libstdc++" : "")}{Cuda()}";
        return sum == 64.0f * 64.0f * 64.0f
            ? Finding.Works("libtorch", text)
            : Finding.Problem("libtorch", $"{text}; a product of ones sums to {sum}, not {64 * 64 * 64}", "delete libtorch-cpu-* from the package cache and run 'dotnet restore'");
    }

    /// <summary>Of the libtorch that is loaded; TorchSharp itself only knows the one it was made for.</summary>
    public static string Version
    {
        get
        {
            if (!IsForeign)
            {
                return torch.__version__;
            }

            string folder = Path.GetFullPath(Environment.GetEnvironmentVariable(TorchLoader.FolderVariable)!);
            string python = Path.Combine(folder, "..", "version.py"), archive = Path.Combine(folder, "..", "build-version");     // of Python's torch; of libtorch's archive
            string? version = File.Exists(python) ? File.ReadLines(python).FirstOrDefault(line => line.StartsWith("__version__", StringComparison.Ordinal))?.Split('=')[^1].Trim(' ', '\'', '"')
                : File.Exists(archive) ? File.ReadAllText(archive).Trim() : null;
            return $"{version ?? "unknown version"} in {folder}";
        }
    }

    private static bool IsForeign => Environment.GetEnvironmentVariable(TorchLoader.FolderVariable) is { Length: > 0 };

    private static string Cuda() => TorchLoader.Find(TorchCuda.Library) is not string library ? ""
        : torch.cuda.is_available() ? $", {torch.cuda.device_count()} CUDA devices" : $", no CUDA device though there is {library}";

    /// <summary>MKL is linked into libtorch and exports its own version text.</summary>
    private static unsafe string Blas()
    {
        const int Length = 256;
        if (TorchLoader.Find("libtorch_cpu.so") is not string library
            || !NativeLibrary.TryGetExport(NativeLibrary.Load(library), "MKL_Get_Version_String", out nint export))
        {
            return "other than MKL";
        }

        byte* buffer = stackalloc byte[Length];
        ((delegate* unmanaged[Cdecl]<byte*, int, void>)export)(buffer, Length);
        return Encoding.ASCII.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(buffer)).Trim();
    }
}
