// A babel plugin: names the AMD module, and lets it return what it exports by default, as Moodle's loader expects.

'use strict';

module.exports = ({template, types}, {name}) => {
    /**
     * Whether a node is `exports.default` of the module.
     *
     * @param {Object} node
     * @returns {String} the name of the exports object; '' if it is not
     */
    const defaultOf = node => ['exports', '_exports'].find(
        object => types.isMemberExpression(node)
            && types.isIdentifier(node.object, {name: object})
            && types.isIdentifier(node.property, {name: 'default'})
    ) || '';

    const nameIt = path => {
        const [first] = path.node.arguments;
        if (types.isStringLiteral(first)) {
            path.node.arguments.shift();
        }
        path.node.arguments.unshift(types.stringLiteral(name));
        // The space keeps Moodle from adding a name of its own when it serves the file.
        path.node.callee.name = 'define ';
    };

    const returnDefault = (path, object) => {
        const body = path.findParent(parent => parent.key === 'body' || !parent.parentPath);
        body.node.body.push(template(`return ${object}.default`)());
    };

    return {
        visitor: {
            Program: {
                exit(program) {
                    let named = false;
                    let returned = false;
                    program.traverse({
                        CallExpression(path) {
                            if (!named && path.get('callee').isIdentifier({name: 'define'})) {
                                named = true;
                                nameIt(path);
                            }
                        },
                        AssignmentExpression(path) {
                            const object = returned ? '' : defaultOf(path.node.left);
                            if (object) {
                                returned = true;
                                returnDefault(path, object);
                            }
                        },
                    });
                },
            },
        },
    };
};
