// Builds amd/src/*.js of a Moodle component into amd/build/*.min.js with source maps, in the very form of Moodle's
// grunt (its .grunt/tasks/javascript.js: rollup, babel, terser without mangling).
//
//     node build.mjs COMPONENT COMPONENT_DIR OUTPUT_DIR
//
// OUTPUT_DIR is emptied of built files first, so that nothing stays of a source that is gone.

import {transformSync} from '@babel/core';
import {mkdirSync, readdirSync, rmSync} from 'node:fs';
import {basename, dirname, join, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {rollup} from 'rollup';
import {terser} from 'rollup-plugin-terser';
import moduleName from './module_name.cjs';

const [component, directory, output] = process.argv.slice(2);
if (!output) {
    throw new Error('usage: node build.mjs COMPONENT COMPONENT_DIR OUTPUT_DIR');
}
const here = dirname(fileURLToPath(import.meta.url));
const src = resolve(directory, 'amd/src');
const build = resolve(output);

const babel = {
    name: 'babel',
    transform: (code, id) => {
        const {code: transformed, map} = transformSync(code, {
            filename: id,
            cwd: here,
            babelrc: false,
            configFile: false,
            browserslistConfigFile: false,
            sourceMaps: true,
            comments: false,
            compact: false,
            plugins: [
                'transform-es2015-modules-amd-lazy',
                'system-import-transformer',
                [moduleName, {name: `${component}/${basename(id, '.js')}`}],
            ],
            presets: [['@babel/preset-env', {
                modules: false,
                useBuiltIns: false,
                // Moodle's package.json.
                targets: ['>0.3%', 'last 2 versions', 'not ie >= 0', 'not op_mini all', 'not Opera > 0', 'not dead'],
            }]],
        });
        return {code: transformed, map};
    },
};

mkdirSync(build, {recursive: true});
for (const name of readdirSync(build)) {
    if (/\.min\.js(\.map)?$/.test(name)) {
        rmSync(join(build, name));
    }
}
for (const name of readdirSync(src).filter(name => name.endsWith('.js')).sort()) {
    const bundle = await rollup({
        input: join(src, name),
        treeshake: false,
        context: 'window',
        plugins: [babel, terser({mangle: false})],
    });
    await bundle.write({
        format: 'esm',
        sourcemap: true,
        file: join(build, name.replace(/\.js$/, '.min.js')),
        // As seen from amd/build, wherever the output goes.
        sourcemapPathTransform: path => `../src/${basename(path)}`,
    });
    await bundle.close();
}
