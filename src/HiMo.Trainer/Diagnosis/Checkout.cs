// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>The repository that the running program was built in.</summary>
internal static class Checkout
{
    /// <summary>The folder that holds HiMo.Kernels.sln, or null where the program was published or packed.</summary>
    public static string? Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "HiMo.Kernels.sln")))
            {
                return folder.FullName;
            }
        }

        return null;
    }
}
