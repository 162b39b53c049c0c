// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary><c>preprocess</c>: image files to the array that <c>encode --images</c> takes.</summary>
internal static class PreprocessCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<int> size = new("--size") { Description = "Side of the square that the encoder takes, in pixels. [224]", HelpName = "S", DefaultValueFactory = _ => 224 };
        Option<string> output = new("--out") { Description = "The .npy file to write, n x 3 x S x S float32.", HelpName = "FILE", Required = true };
        Option<bool> rgbFirst = new("--rgb-first") { Description = "Convert to RGB before resizing, not after; matters for alpha and palettes." };
        Argument<string[]> files = new("FILE") { Description = "Images: JPEG, PNG or WebP, up to 25 Mpixel.", Arity = ArgumentArity.OneOrMore };
        Command command = new("preprocess", "Images as CLIP's image encoder takes them: resized (Pillow's bicubic), cropped, normalised.") { size, output, rgbFirst, files };
        command.Set((parse, cancellation) =>
        {
            ImagePreprocessor preprocessor = new(parse.GetValue(size), parse.GetValue(rgbFirst));
            string[] paths = parse.GetValue(files)!;
            long values = (long)paths.Length * preprocessor.ValuesPerImage;
            if (values > Array.MaxLength)
            {
                throw new UserError($"{paths.Length} images of {preprocessor.Size} pixels are {values} values, more than one array holds ({Array.MaxLength}); preprocess them in parts");
            }

            float[] images = new float[values];
            preprocessor.Load(paths, images, cancellation);
            NpyFile.Write<float>(parse.GetRequiredValue(output), images, paths.Length, 3, preprocessor.Size, preprocessor.Size);
        });
        return command;
    }
}
