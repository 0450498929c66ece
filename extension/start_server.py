"""Start file of the language server: `python -I` runs it by its absolute path.

Python puts nothing of the workspace on its path then, only what is installed in the interpreter.
"""

from irene_server.__main__ import main

if __name__ == "__main__":
    main()
