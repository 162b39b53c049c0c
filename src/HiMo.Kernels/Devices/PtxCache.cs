// SPDX-License-Identifier: Apache-2.0
// PTX of kernels that were compiled before, in the user's cache folder: ILGPU takes 0.2 s and more for each, a step has a dozen or two. The
// driver keeps what it assembles in a cache of its own, by the text: ILGPU numbers its names anew in every process, so that only
// text from here is found there again.
// Key        kernel with type arguments, sources of its assembly, ILGPU, instruction set, architecture, group size, optimisation.
// File       the key, a SHA-256 of the PTX, the PTX; written beside its place and renamed. What does not agree is compiled anew.
// Limits     a folder that cannot be read or written costs the time again, and nothing else.
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>A folder of PTX.</summary>
/// <param name="folder">Made when the first file is written.</param>
internal sealed class PtxCache(string folder)
{
    private const string Mark = "himo ptx 1";

    /// <summary>The user's: XDG_CACHE_HOME or ~/.cache on Linux, the local application data on Windows.</summary>
    public static PtxCache OfUser { get; } = new(Path.Combine(UserFolder(), "himo", "ptx"));

    /// <summary>Where the files are.</summary>
    public string Folder => folder;

    /// <summary>All that the text of a kernel depends on; one line.</summary>
    /// <param name="kernel">A static method, generic ones closed.</param>
    /// <param name="threads">Threads of a group.</param>
    /// <param name="target">Architecture and instruction set as ILGPU names them.</param>
    public static string KeyOf(MethodInfo kernel, int threads, string target)
    {
        string types = string.Join(',', kernel.GetGenericArguments().Select(type => type.FullName));
        IEnumerable<Module> modules = kernel.GetGenericArguments().Select(type => type.Module).Append(kernel.Module).Distinct();
        string builds = string.Join(',', modules.Select(SourcesOf).Order(StringComparer.Ordinal));
        string ilgpu = typeof(Context).Assembly.GetName().Version!.ToString();
        return $"{kernel.DeclaringType!.FullName}.{kernel.Name}<{types}> of {builds} ilgpu {ilgpu} target {target} threads {threads} {nameof(OptimizationLevel.O1)}";
    }

    /// <summary>The PTX of a key: from its file, or compiled and kept.</summary>
    public string Get(string key, Func<string> compile)
    {
        string file = Path.Combine(folder, NameOf(key));
        if (Read(file, key) is string kept)
        {
            return kept;
        }

        string ptx = compile();
        Write(file, Seal(key, ptx));
        return ptx;
    }

    /// <summary>What tells an assembly's sources from others: a SHA-256 that its build wrote down, or else the build itself.</summary>
    public static string SourcesOf(Module module) =>
        module.Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().FirstOrDefault(each => each.Key == "Sources")?.Value ?? module.ModuleVersionId.ToString("N");

    /// <summary>A file's text.</summary>
    public static string Seal(string key, string ptx) => $"{Mark}\n{key}\n{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(ptx)))}\n{ptx}";

    /// <summary>The PTX in a file's text, or null if it is of another key or damaged.</summary>
    public static string? Unseal(string key, string text)
    {
        string[] parts = text.Split('\n', 4);
        return parts.Length == 4 && Seal(key, parts[3]) == text ? parts[3] : null;
    }

    /// <summary>A file's name, from the key.</summary>
    public static string NameOf(string key) => $"{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)))}.ptx";

    private static string? Read(string file, string key)
    {
        try
        {
            return Unseal(key, File.ReadAllText(file));
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return null;    // not there, or not readable: compiled as if there were no cache
        }
    }

    private void Write(string file, string text)
    {
        string temporary = $"{file}.{Environment.ProcessId}.{Guid.NewGuid():N}.tmp";
        try
        {
            _ = Directory.CreateDirectory(folder);
            File.WriteAllText(temporary, text);
            File.Move(temporary, file, overwrite: true);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            // A full disk or a read-only home: the kernel is compiled, only its next use takes as long.
        }
    }

    private static string UserFolder()
    {
        if (OperatingSystem.IsWindows())
        {
            return Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
        }

        return Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } set
            ? set
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
    }
}
